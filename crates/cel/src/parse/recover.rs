//! Faults of syntax, and how the parser goes on after one: as upstream's generated parser does, so that
//! further faults are told as there.
//!
//! It skips a token that is too much, imagines one that is missing, or skips to what may follow what it
//! was reading; until a token fits again it says nothing. Not here: the grammar.

use super::lex::{Tok, Token, printed};
use super::{Parse, Parser, Stop, binary};
use crate::ast::{Expr, Kind, Literal};

/// How often a parse goes on after a fault.
const MAX_RECOVERIES: usize = 30;
/// What begins an expression.
pub(super) const STARTS: [Tok; 15] = [
    Tok::OpenBracket,
    Tok::OpenBrace,
    Tok::OpenParen,
    Tok::Dot,
    Tok::Minus,
    Tok::Not,
    Tok::True,
    Tok::False,
    Tok::Null,
    Tok::Float,
    Tok::Int,
    Tok::Uint,
    Tok::String,
    Tok::Bytes,
    Tok::Ident,
];

impl<'s> Parser<'s> {
    /// A fault of syntax, which is told unless another one has just been.
    pub(super) fn syntax(&mut self, offset: usize, what: &str) {
        if !std::mem::replace(&mut self.recovering, true) {
            self.fault(offset, format!("Syntax error: {what}"));
        }
        self.recoveries += 1;
        if self.recoveries > MAX_RECOVERIES && !self.halted {
            self.halted = true;
            let why = format!("error recovery attempt limit exceeded: {MAX_RECOVERIES}");
            self.fault(offset, why);
        }
    }

    /// Something else must come now. Skips a single token that is too much; skips to what may follow if
    /// that does not help.
    pub(super) fn mismatch(&mut self, expected: &[Tok]) -> Parse<()> {
        let token = self.peek();
        let (text, set) = (printed(token.text), expecting(expected));
        if token.tok != Tok::End && expected.contains(&self.peek_after(1)) {
            self.syntax(token.offset, &format!("extraneous input '{text}' expecting {set}"));
            self.at += 1;
            return if self.halted { Err(Stop) } else { Ok(()) };
        }
        self.syntax(token.offset, &format!("mismatched input '{text}' expecting {set}"));
        Err(self.skip(true))
    }

    /// Nothing begins with some tokens and goes on with the present one.
    pub(super) fn no_alternative(&mut self, from: Token<'s>) {
        let token = self.peek();
        let start = from.text.as_ptr() as usize - self.source.as_ptr() as usize;
        let end = match token.tok {
            Tok::End => self.source.len(),
            _ => token.text.as_ptr() as usize - self.source.as_ptr() as usize + token.text.len(),
        };
        let text = printed(&self.source[start..end]);
        self.syntax(token.offset, &format!("no viable alternative at input '{text}'"));
    }

    /// Skips to what may follow; `members`: which may be something of what is imagined here.
    pub(super) fn skip(&mut self, members: bool) -> Stop {
        while !self.halted {
            let tok = self.peek().tok;
            let follows = matches!(tok, Tok::End | Tok::Question)
                || members && matches!(tok, Tok::Dot | Tok::OpenBracket)
                || binary(tok).is_some()
                || self.around.iter().any(|ends| ends.contains(&tok));
            if follows {
                break;
            }
            self.at += 1;
        }
        Stop
    }

    /// What was read, or a stand-in where that ended with a fault.
    pub(super) fn or_stand_in(&mut self, offset: usize, read: Parse<Expr>) -> Parse<Expr> {
        match read {
            Err(Stop) if !self.halted => Ok(self.node(offset, Kind::Literal(Literal::Null))),
            other => other,
        }
    }

    /// One token that must come now; `None` where it is only imagined.
    pub(super) fn expect(&mut self, tok: Tok) -> Parse<Option<Token<'s>>> {
        if self.is(tok) {
            return Ok(Some(self.take()));
        }
        let token = self.peek();
        let closes = matches!(tok, Tok::CloseParen | Tok::CloseBracket | Tok::CloseBrace);
        let follows =
            binary(token.tok).is_some() || (token.tok == Tok::End && self.around.is_empty());
        let fits = closes && follows || tok == Tok::Colon && STARTS.contains(&token.tok);
        if fits && (token.tok == Tok::End || self.peek_after(1) != tok) {
            let text = printed(token.text);
            self.syntax(token.offset, &format!("missing {} at '{text}'", tok.name()));
            return if self.halted { Err(Stop) } else { Ok(None) };
        }
        self.mismatch(&[tok])?;
        Ok(Some(self.take()))
    }

    /// Reads what is ended by some tokens.
    pub(super) fn within<T>(
        &mut self,
        ends: &'static [Tok],
        read: impl FnOnce(&mut Self) -> Parse<T>,
    ) -> Parse<T> {
        self.around.push(ends);
        let outcome = read(self);
        self.around.pop();
        outcome
    }

    /// What stands between brackets: its own faults end it, and not what is around.
    pub(super) fn inside<T: Default>(
        &mut self,
        ends: &'static [Tok],
        close: Tok,
        read: impl FnOnce(&mut Self) -> Parse<T>,
    ) -> Parse<T> {
        let inner = match self.within(ends, read) {
            Err(Stop) if !self.halted => T::default(),
            other => other?,
        };
        self.expect(close)?;
        Ok(inner)
    }

    /// After a part of a list or map: its end must come, where no comma did.
    pub(super) fn between(&mut self, close: Tok) -> Parse<()> {
        if self.is(close) {
            return Ok(());
        }
        self.mismatch(&[close, Tok::Comma])
    }

    /// Whether an expression begins here.
    pub(super) fn begins(&self) -> bool {
        STARTS.contains(&self.peek().tok)
    }

    /// What an expression begins with, once what is too much before it is gone.
    pub(super) fn begin(&mut self) -> Parse<()> {
        while !self.begins() {
            self.mismatch(&STARTS)?;
        }
        Ok(())
    }
}

/// What begins an expression, and more.
pub(super) fn with(more: &[Tok]) -> Vec<Tok> {
    STARTS.iter().chain(more).copied().collect()
}

pub(super) fn expecting(expected: &[Tok]) -> String {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    match expected.as_slice() {
        [one] => one.name().to_owned(),
        many => {
            let names: Vec<&str> = many.iter().map(|t| t.name()).collect();
            format!("{{{}}}", names.join(", "))
        }
    }
}
