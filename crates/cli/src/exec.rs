//! `exec`: a command in a container, with its streams and, on request, a terminal.
//!
//! Not here: the protocol (`client::stream`).

use crate::Result;
use crate::args::Exec;
use crate::context::Context;

/// Runs the command.
pub async fn run(_context: &Context, _args: Exec) -> Result<()> {
    Ok(())
}
