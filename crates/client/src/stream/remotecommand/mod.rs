//! Exec and attach: standard streams, terminal size and outcome of a command, over either framing.
//!
//! `server` is the end where the command runs, `client` the end that asked for it, `bridge` joins the
//! two where this process stands between them. Not here: running anything.

mod bridge;
mod client;
mod server;
mod size;

use api::ApiError;
use serde_json::{Value, json};

pub use bridge::bridge;
pub use client::{ClientLink, ClientStreams, connect, connect_spdy, connect_websocket};
pub use server::{ServerEnd, ServerStreams, serve};
pub use size::TerminalSize;

/// Numbers of the channels in a WebSocket.
mod channel {
    pub const STDIN: u8 = 0;
    pub const STDOUT: u8 = 1;
    pub const STDERR: u8 = 2;
    pub const ERROR: u8 = 3;
    pub const RESIZE: u8 = 4;
}

/// Which streams are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The command reads from us.
    pub stdin: bool,
    /// We read what it prints.
    pub stdout: bool,
    /// We read what it complains about; never with a terminal, which has one output.
    pub stderr: bool,
    /// It runs in a terminal, whose size we may tell.
    pub tty: bool,
}

impl Wanted {
    /// Reads a request's query: the API's names (`stdin`, `stdout`, `stderr`, `tty`) or the kubelet's
    /// (`input`, `output`, `error`).
    pub fn from_query(query: &str) -> Self {
        let mut wanted = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let on = matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True");
            match name {
                "stdin" | "input" => wanted.stdin = on,
                "stdout" | "output" => wanted.stdout = on,
                "stderr" | "error" => wanted.stderr = on,
                "tty" => wanted.tty = on,
                _ => {}
            }
        }
        wanted.stderr &= !wanted.tty;
        wanted
    }
}

/// How a remote command ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Exit code 0.
    Success,
    /// Any other exit code.
    Exit(i32),
    /// It could not be run, or its end is not known.
    Failed(Box<ApiError>),
}

impl Outcome {
    /// A failure with a message.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(Box::new(ApiError::new(api::Reason::InternalError, message)))
    }

    /// The status that the error stream carries.
    pub fn to_status(&self) -> Value {
        match self {
            Self::Success => json!({"metadata": {}, "status": "Success"}),
            Self::Exit(code) => json!({
                "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
                "message": format!("command terminated with non-zero exit code: exit status {code}"),
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Failed(error) => error.to_status(),
        }
    }

    /// Reads what came on the error stream: a status, or (before version 4) bare text.
    pub fn parse(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::Success;
        }
        let status: Value = match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Value::Object(map),
            _ => return Self::failed(String::from_utf8_lossy(bytes).trim()),
        };
        if status["status"] == "Success" {
            return Self::Success;
        }
        if status["reason"] == "NonZeroExitCode" {
            let causes = status["details"]["causes"].as_array();
            let code = causes
                .into_iter()
                .flatten()
                .find(|c| c["reason"] == "ExitCode")
                .and_then(|c| c["message"].as_str()?.parse().ok());
            if let Some(code) = code {
                return Self::Exit(code);
            }
        }
        let code = status["code"].as_u64().and_then(|c| u16::try_from(c).ok()).unwrap_or(500);
        let mut marked = status;
        marked["kind"] = "Status".into();
        Self::Failed(Box::new(ApiError::from_response(code, marked.to_string().as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_round_trip() {
        for outcome in [Outcome::Success, Outcome::Exit(137), Outcome::failed("no such container")]
        {
            let text = outcome.to_status().to_string();
            let back = Outcome::parse(text.as_bytes());
            assert_eq!(back.to_status(), outcome.to_status());
        }
        assert_eq!(Outcome::parse(b""), Outcome::Success);
        let Outcome::Failed(error) = Outcome::parse(b"boom\n") else { panic!("a failure") };
        assert_eq!(error.message, "boom");
    }

    #[test]
    fn queries() {
        let wanted = Wanted::from_query("command=sh&stdin=true&stdout=true&stderr=true&tty=true");
        assert_eq!(wanted, Wanted { stdin: true, stdout: true, stderr: false, tty: true });
        let wanted = Wanted::from_query("input=1&output=1&error=1&tty=0");
        assert_eq!(wanted, Wanted { stdin: true, stdout: true, stderr: true, tty: false });
    }
}
