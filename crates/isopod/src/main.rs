//! The binary: picks the part to run. Composition only; every part lives in its own crate.

mod args;
mod network_setup;
mod parts;
mod process;
mod server;
mod uninstall;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::args::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The Kubernetes version whose behaviour this is.
const KUBERNETES: &str = "v1.36.2";

fn main() -> ExitCode {
    // The container runtime calls the same binary as its network plugin; nothing else may start then.
    if std::env::var_os("CNI_COMMAND").is_some() {
        return network::cni::main();
    }
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let outcome = match cli.command {
        Command::Version => {
            println!("isopod {} (Kubernetes {KUBERNETES})", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "isopod", &mut std::io::stdout());
            return ExitCode::SUCCESS;
        }
        Command::Kubectl(args) => {
            let code = runtime.block_on(cli::run(*args));
            // A thread may still wait for standard input.
            runtime.shutdown_background();
            return code;
        }
        Command::Uninstall(args) => {
            log(&cli.log);
            uninstall::run(&args)
        }
        Command::Server(args) => {
            log(&cli.log);
            runtime.block_on(server::run(*args))
        }
        Command::Apiserver(args) => {
            log(&cli.log);
            runtime.block_on(parts::apiserver(*args))
        }
        Command::Scheduler(args) => {
            log(&cli.log);
            runtime.block_on(parts::scheduler(args))
        }
        Command::ControllerManager(args) => {
            log(&cli.log);
            runtime.block_on(parts::controller_manager(args))
        }
        Command::Kubelet(args) => {
            log(&cli.log);
            runtime.block_on(parts::kubelet(*args))
        }
        Command::Proxy(args) => {
            log(&cli.log);
            runtime.block_on(parts::proxy(args))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format_args!("{error:#}")),
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("isopod: {error}");
    ExitCode::FAILURE
}

/// Logs to stderr; directives that cannot be read fall back to `info`.
fn log(directives: &str) {
    let filter = tracing_subscriber::EnvFilter::try_new(directives)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
