//! The kubectl-compatible command line: `isopod kubectl …`.
//!
//! Talks only the public API and prints what kubectl prints. Not here: starting components (the
//! `isopod` binary).

mod apply;
mod args;
mod change;
mod context;
mod create;
mod delete;
mod describe;
mod diff;
mod discover;
mod drain;
mod exec;
mod expose;
mod forward;
mod get;
mod jsonpath;
mod logs;
mod manifest;
mod printer;
mod revisions;
mod rollout;
mod scale;
mod text;
mod wait;

pub use args::{Args, Command};

use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server or the way to it.
    #[error("{}", from_server(.0))]
    Client(#[from] client::Error),
    /// The command line says something that cannot be done.
    #[error("error: {0}")]
    Usage(String),
    /// Reading or writing here.
    #[error("error: {0}: {1}")]
    Io(String, std::io::Error),
    /// A remote command ended with this code, which becomes ours.
    #[error("command terminated with exit code {0}")]
    Exit(u8),
    /// Several failed; each has been printed.
    #[error("")]
    Printed,
}

impl Error {
    fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }
}

/// What commands return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// As kubectl says it: `Error from server (NotFound): …`.
fn from_server(error: &client::Error) -> String {
    match error.api() {
        Some(status) if !status.reason.as_str().is_empty() => {
            format!("Error from server ({}): {}", status.reason.as_str(), status.message)
        }
        Some(status) => format!("Error from server: {}", status.message),
        None => format!("error: {error}"),
    }
}

/// Runs one command to its end. Output goes to stdout, complaints to stderr.
pub async fn run(args: Args) -> ExitCode {
    match dispatch(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Exit(code)) => {
            eprintln!("command terminated with exit code {code}");
            ExitCode::from(code)
        }
        Err(Error::Printed) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(args: Args) -> Result<()> {
    let context = context::Context::load(&args.global)?;
    match args.command {
        Command::Get(get) => get::run(&context, get).await,
        Command::Apply(apply) => apply::run(&context, apply).await,
        Command::Create(create) => create::run(&context, create).await,
        Command::Delete(delete) => delete::run(&context, delete).await,
        Command::Describe(describe) => describe::run(&context, describe).await,
        Command::Logs(logs) => logs::run(&context, logs).await,
        Command::Exec(exec) => exec::run(&context, exec).await,
        Command::Scale(scale) => scale::run(&context, scale).await,
        Command::Rollout(rollout) => rollout::run(&context, rollout).await,
        Command::Wait(wait) => wait::run(&context, wait).await,
        Command::PortForward(forward) => forward::run(&context, forward).await,
        Command::Attach(attach) => exec::attach(&context, attach).await,
        Command::Patch(patch) => change::patch(&context, patch).await,
        Command::Label(label) => change::mark(&context, label, "labels", "labeled").await,
        Command::Annotate(label) => change::mark(&context, label, "annotations", "annotated").await,
        Command::Set(args::Set { what: args::SetWhat::Image(image) }) => {
            change::set_image(&context, image).await
        }
        Command::Cordon { nodes } => change::cordon(&context, &nodes, true).await,
        Command::Uncordon { nodes } => change::cordon(&context, &nodes, false).await,
        Command::Drain(drain) => drain::run(&context, drain).await,
        Command::Expose(expose) => expose::expose(&context, expose).await,
        Command::Run(run) => expose::run(&context, run).await,
        Command::Top { .. } => Err(Error::usage("Metrics API not available")),
    }
}
