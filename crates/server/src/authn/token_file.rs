//! `--token-auth-file`: static tokens in upstream's CSV form, `token,user,uid[,"group,group"]`.

use std::collections::HashMap;
use std::path::Path;

use crate::gate::UserInfo;

/// Why a token file is refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("--token-auth-file {}: {source}", path.display())]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is wrong.
    #[error("--token-auth-file {}, line {line}: {why}; a line is token,user,uid,\"group,group\"", path.display())]
    Line {
        /// The file.
        path: std::path::PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// Users by token.
#[derive(Debug, Default)]
pub struct TokenFile(HashMap<String, UserInfo>);

impl TokenFile {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<Self, TokenFileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TokenFileError::Read { path: path.to_owned(), source })?;
        let (users, notes) = parse(&text).map_err(|(line, why)| TokenFileError::Line {
            path: path.to_owned(),
            line,
            why,
        })?;
        for note in notes {
            tracing::warn!(file = %path.display(), "{note}");
        }
        Ok(Self(users))
    }

    /// Whose token it is.
    pub fn user(&self, token: &str) -> Option<&UserInfo> {
        self.0.get(token)
    }
}

type Parsed = (HashMap<String, UserInfo>, Vec<String>);

fn parse(text: &str) -> Result<Parsed, (usize, String)> {
    let (mut users, mut notes) = (HashMap::new(), Vec::new());
    for (line, fields) in records(text)? {
        let [token, name, uid, rest @ ..] = fields.as_slice() else {
            return Err((line, format!("3 columns or more are needed, found {}", fields.len())));
        };
        if token.is_empty() {
            notes.push(format!("line {line} has an empty token and is left out"));
            continue;
        }
        let groups = rest.first().map(String::as_str).unwrap_or_default();
        let user = UserInfo {
            name: name.clone(),
            uid: uid.clone(),
            groups: groups.split(',').filter(|g| !g.is_empty()).map(str::to_owned).collect(),
            ..UserInfo::default()
        };
        if users.insert(token.clone(), user).is_some() {
            notes.push(format!("line {line} repeats a token; the last one counts"));
        }
    }
    Ok((users, notes))
}

type Records = Vec<(usize, Vec<String>)>;

/// The records of a CSV text with the line each begins on. Quoted fields may hold commas, line
/// breaks and doubled quotes.
fn records(text: &str) -> Result<Records, (usize, String)> {
    let mut records: Records = Vec::new();
    let (mut line, mut begin) = (1, 1);
    let (mut fields, mut field) = (Vec::new(), String::new());
    let (mut quoted, mut was_quoted) = (false, false);
    let mut chars = text.chars().peekable();
    loop {
        let c = chars.next();
        match c {
            Some('"') if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            Some('"') if quoted => quoted = false,
            Some(c) if quoted => {
                line += usize::from(c == '\n');
                field.push(c);
            }
            None if quoted => return Err((begin, "a quote is not closed".into())),
            Some('"') if field.is_empty() && !was_quoted => (quoted, was_quoted) = (true, true),
            Some('"') => return Err((line, "a quote stands inside an unquoted field".into())),
            Some(',') => {
                fields.push(std::mem::take(&mut field));
                was_quoted = false;
            }
            Some('\r') if chars.peek() == Some(&'\n') => {}
            Some('\n') | None => {
                let blank = fields.is_empty() && field.is_empty() && !was_quoted;
                if !blank {
                    fields.push(std::mem::take(&mut field));
                    records.push((begin, std::mem::take(&mut fields)));
                }
                line += 1;
                begin = line;
                was_quoted = false;
                if c.is_none() {
                    return Ok(records);
                }
            }
            Some(_) if was_quoted => {
                return Err((line, "a comma is missing after a closing quote".into()));
            }
            Some(c) => field.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_upstream_reads() {
        let text =
            "t1,admin,1,\"system:masters\"\n\nt2,bob,2\r\nt3,\"a \"\"b\"\"\",3,\"x,y\"\n,none,4\n";
        let (users, notes) = parse(text).expect("valid");
        assert_eq!(users.len(), 3);
        assert_eq!(
            users["t1"],
            UserInfo { uid: "1".into(), ..UserInfo::new("admin", &["system:masters"]) }
        );
        assert_eq!(users["t2"].groups, Vec::<String>::new());
        assert_eq!((&*users["t3"].name, users["t3"].groups.len()), ("a \"b\"", 2));
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn names_the_line_at_fault() {
        for (text, line, word) in [
            ("t1,admin,1\nt2,bob\n", 2, "3 columns"),
            ("\n\nt1,\"admin,1\n", 3, "not closed"),
            ("t1,ad\"min,1", 1, "inside"),
            ("t1,\"admin\"x,1", 1, "comma"),
        ] {
            let (at, why) = parse(text).expect_err("refused");
            assert_eq!(at, line, "{text:?}");
            assert!(why.contains(word), "{why}");
        }
    }
}
