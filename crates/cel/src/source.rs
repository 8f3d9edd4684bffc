//! The text of an expression: positions, and errors printed with the line and a caret.
//!
//! Not here: what is wrong with an expression (`parse`, `check`).

use std::fmt;

/// One thing wrong with an expression, where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CompileError {
    /// Characters before it, from the start of the text.
    pub offset: usize,
    /// For people.
    pub message: String,
}

impl CompileError {
    pub(crate) fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { offset, message: message.into() }
    }
}

/// Everything wrong with an expression. Prints as upstream prints it:
///
/// ```text
/// ERROR: <input>:1:1: undeclared reference to 'x' (in container '')
///  | x + 1
///  | ^
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileErrors {
    text: String,
    /// In the order of the text.
    pub errors: Vec<CompileError>,
}

/// More errors than this are counted, not printed.
const MAX_ERRORS: usize = 100;
/// A longer line is not shown.
const MAX_SNIPPET: usize = 16_384;

impl std::error::Error for CompileErrors {}

impl CompileErrors {
    pub(crate) fn new(source: &str, mut errors: Vec<CompileError>) -> Self {
        // Those of one place stay in the order in which they were found.
        errors.sort_by_key(|error| error.offset);
        errors.dedup();
        Self { text: source.to_owned(), errors }
    }
}

impl fmt::Display for CompileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.errors.iter().take(MAX_ERRORS).enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            if self.text.is_empty() {
                // There is no first character, and no line to show.
                write!(f, "ERROR: <input>:1:0: {}", error.message)?;
                continue;
            }
            let (line, column, snippet) = locate(&self.text, error.offset);
            write!(f, "ERROR: <input>:{line}:{}: {}", column + 1, error.message)?;
            if snippet.len() <= MAX_SNIPPET {
                let snippet = snippet.replace('\t', " ");
                write!(f, "\n | {snippet}\n | ")?;
                let mut chars = snippet.chars();
                for c in chars.by_ref().take(column) {
                    f.write_str(if c.is_ascii() { "." } else { "\u{ff0e}" })?;
                }
                let wide = chars.next().is_some_and(|c| !c.is_ascii());
                f.write_str(if wide { "\u{ff3e}" } else { "^" })?;
            }
        }
        if self.errors.len() > MAX_ERRORS {
            write!(f, "\n{} more errors were truncated", self.errors.len() - MAX_ERRORS)?;
        }
        Ok(())
    }
}

/// The line (from 1), the column (from 0) and the text of the line at an offset.
fn locate(source: &str, offset: usize) -> (usize, usize, &str) {
    let mut start = 0;
    for (at, line) in source.split('\n').enumerate() {
        let length = line.chars().count();
        if offset <= start + length {
            return (at + 1, offset - start, line);
        }
        start += length + 1;
    }
    (source.split('\n').count(), 0, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_fault() {
        let of = |source: &str, offset| {
            CompileErrors::new(source, vec![CompileError::new(offset, "no")]).to_string()
        };
        assert_eq!(of("", 0), "ERROR: <input>:1:0: no");
        assert_eq!(of("a + b", 2), "ERROR: <input>:1:3: no\n | a + b\n | ..^");
        assert_eq!(of("a +\nbc", 5), "ERROR: <input>:2:2: no\n | bc\n | .^");
        assert_eq!(of("'é'+x", 4), "ERROR: <input>:1:5: no\n | 'é'+x\n | .\u{ff0e}..^");
    }
}
