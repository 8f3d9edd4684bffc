//! Text to tree: a parser by hand for the grammar of the language, with the messages that upstream's
//! generated parser gives.
//!
//! Not here: how it goes on after a fault (`recover`), what macros expand to (`macros`), names and
//! types (`check`).

mod lex;
mod macros;
mod recover;
mod text;

use std::sync::Arc;

use crate::ast::{Call, Entry, Expr, Id, Init, Item, Kind, Literal};
use crate::source::{CompileError, CompileErrors};
use lex::{Tok, Token, printed};
use recover::{STARTS, expecting, with};

/// How deep brackets may nest.
const MAX_DEPTH: usize = 100;
/// How deep the tree may be; deeper ones would exhaust the stack of those that walk it.
const MAX_TREE: u16 = 200;
/// How many characters an expression may have.
const MAX_CHARS: usize = 100_000;

/// Names that an expression may not use by themselves.
pub const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A parsed expression.
pub struct Parsed {
    pub root: Expr,
    /// How many nodes have been numbered.
    pub nodes: usize,
}

/// Parses; `bindings` switches `cel.bind` on.
pub fn parse(source: &str, bindings: bool) -> Result<Parsed, CompileErrors> {
    if source.chars().count() > MAX_CHARS {
        let message = format!(
            "expression code point size exceeds limit: size: {}, limit {MAX_CHARS}",
            source.chars().count()
        );
        return Err(CompileErrors::new("", vec![CompileError::new(0, message)]));
    }
    let mut errors = Vec::new();
    let tokens = lex::tokens(source, &mut errors);
    let mut parser = Parser {
        source,
        tokens,
        at: 0,
        nodes: 0,
        depth: 0,
        around: Vec::new(),
        bindings,
        halted: false,
        recovering: false,
        recoveries: 0,
        errors,
    };
    let root = parser.start();
    match root {
        Ok(root) if parser.errors.is_empty() => Ok(Parsed { root, nodes: parser.nodes }),
        Ok(_) | Err(Stop) => Err(CompileErrors::new(source, parser.errors)),
    }
}

/// A fault has been noted. Where the parser has not halted, only what was being read ends.
struct Stop;

type Parse<T> = Result<T, Stop>;

struct Parser<'s> {
    source: &'s str,
    tokens: Vec<Token<'s>>,
    at: usize,
    nodes: usize,
    depth: usize,
    /// What ends what is around: closing brackets, and what stands between parts.
    around: Vec<&'static [Tok]>,
    bindings: bool,
    /// Whether a bound was met: nothing more is read.
    halted: bool,
    /// Whether no token has fitted since the last fault.
    recovering: bool,
    recoveries: usize,
    errors: Vec<CompileError>,
}

/// Binary operators: how tightly they bind, and the function they stand for.
fn binary(tok: Tok) -> Option<(u8, &'static str)> {
    Some(match tok {
        Tok::Or => (0, "_||_"),
        Tok::And => (1, "_&&_"),
        Tok::Equals => (2, "_==_"),
        Tok::NotEquals => (2, "_!=_"),
        Tok::Less => (2, "_<_"),
        Tok::LessEquals => (2, "_<=_"),
        Tok::Greater => (2, "_>_"),
        Tok::GreaterEquals => (2, "_>=_"),
        Tok::In => (2, "@in"),
        Tok::Plus => (3, "_+_"),
        Tok::Minus => (3, "_-_"),
        Tok::Star => (4, "_*_"),
        Tok::Slash => (4, "_/_"),
        Tok::Percent => (4, "_%_"),
        _ => return None,
    })
}

impl<'s> Parser<'s> {
    fn peek(&self) -> Token<'s> {
        self.tokens[self.at]
    }

    fn peek_after(&self, n: usize) -> Tok {
        self.tokens.get(self.at + n).map_or(Tok::End, |t| t.tok)
    }

    fn is(&self, tok: Tok) -> bool {
        self.peek().tok == tok
    }

    fn take(&mut self) -> Token<'s> {
        let token = self.peek();
        if token.tok != Tok::End {
            self.at += 1;
            self.recovering = false;
        }
        token
    }

    fn accept(&mut self, tok: Tok) -> Option<Token<'s>> {
        self.is(tok).then(|| self.take())
    }

    fn fault(&mut self, offset: usize, message: impl Into<String>) {
        self.errors.push(CompileError::new(offset, message));
    }

    fn id(&mut self) -> Id {
        self.nodes += 1;
        self.nodes - 1
    }

    fn node(&mut self, offset: usize, kind: Kind) -> Expr {
        let depth = kind.depth_below() + 1;
        if depth > MAX_TREE && !self.halted {
            self.halted = true;
            self.fault(offset, format!("expression recursion limit exceeded: {MAX_TREE}"));
        }
        Expr { id: self.id(), offset, depth, kind }
    }

    fn call(&mut self, offset: usize, function: &str, args: Vec<Expr>) -> Expr {
        let call = Call { function: function.into(), target: None, args, overloads: Vec::new() };
        self.node(offset, Kind::Call(call))
    }

    fn start(&mut self) -> Parse<Expr> {
        let root = self.expr()?;
        if !self.is(Tok::End) {
            let token = self.peek();
            let what = if self.peek_after(1) == Tok::End { "extraneous" } else { "mismatched" };
            let text = printed(token.text);
            self.syntax(token.offset, &format!("{what} input '{text}' expecting <EOF>"));
        }
        Ok(root)
    }

    /// A whole expression, one level deeper than the one around it.
    fn expr(&mut self) -> Parse<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let offset = self.peek().offset;
            self.halted = true;
            self.fault(offset, format!("expression recursion limit exceeded: {MAX_DEPTH}"));
            return Err(Stop);
        }
        let read = self.conditional();
        self.depth -= 1;
        read
    }

    fn conditional(&mut self) -> Parse<Expr> {
        let condition = self.operators(0)?;
        let expr = match self.accept(Tok::Question) {
            None => condition,
            Some(op) => {
                let then = self.within(&[Tok::Colon], |p| p.operators(0))?;
                match self.expect(Tok::Colon) {
                    Ok(_) => {
                        let otherwise = self.expr()?;
                        self.call(op.offset, "_?_:_", vec![condition, then, otherwise])
                    }
                    other => self.or_stand_in(op.offset, other.map(|_| then))?,
                }
            }
        };
        Ok(expr)
    }

    fn operators(&mut self, least: u8) -> Parse<Expr> {
        let mut left = self.unary()?;
        while let Some((binds, function)) = binary(self.peek().tok) {
            if binds < least {
                break;
            }
            if self.halted {
                return Err(Stop);
            }
            left = if binds < 2 {
                self.logical(left, binds, function)?
            } else {
                let op = self.take();
                let right = self.operators(binds + 1)?;
                self.call(op.offset, function, vec![left, right])
            };
        }
        Ok(left)
    }

    /// A whole run of `&&` or `||`, as a balanced tree.
    fn logical(&mut self, first: Expr, binds: u8, function: &'static str) -> Parse<Expr> {
        let (mut terms, mut ops) = (vec![first], Vec::new());
        while binary(self.peek().tok).is_some_and(|(b, _)| b == binds) {
            ops.push(self.take().offset);
            terms.push(self.operators(binds + 1)?);
        }
        let mut terms = terms.into_iter();
        Ok(self.balance(&mut terms, &ops, function))
    }

    fn balance(
        &mut self,
        terms: &mut impl Iterator<Item = Expr>,
        ops: &[usize],
        function: &'static str,
    ) -> Expr {
        if ops.is_empty() {
            // There is one more term than operators.
            return match terms.next() {
                Some(term) => term,
                None => self.node(0, Kind::Literal(Literal::Null)),
            };
        }
        let middle = ops.len() / 2;
        let left = self.balance(terms, &ops[..middle], function);
        let right = self.balance(terms, &ops[middle + 1..], function);
        self.call(ops[middle], function, vec![left, right])
    }

    fn unary(&mut self) -> Parse<Expr> {
        let offset = self.peek().offset;
        if let Err(stop) = self.begin() {
            let stand_in = self.or_stand_in(offset, Err(stop))?;
            return self.members(stand_in);
        }
        let tok = self.peek().tok;
        let number = |t: Tok| matches!(t, Tok::Int | Tok::Float);
        if tok == Tok::Not || (tok == Tok::Minus && !number(self.peek_after(1))) {
            let op = self.take();
            let mut count = 1;
            while self.is(tok) && !(tok == Tok::Minus && number(self.peek_after(1))) {
                self.take();
                count += 1;
            }
            if tok == Tok::Minus && !self.begins() {
                let last = self.tokens[self.at - 1];
                self.no_alternative(last);
                self.recovering = false;
            } else if self.is(Tok::End) {
                let (offset, set) = (self.peek().offset, expecting(&STARTS));
                self.syntax(offset, &format!("extraneous input '<EOF>' expecting {set}"));
            }
            let operand = self.member()?;
            let function = if tok == Tok::Not { "!_" } else { "-_" };
            return Ok(if count % 2 == 0 {
                operand
            } else {
                self.call(op.offset, function, vec![operand])
            });
        }
        self.member()
    }

    fn member(&mut self) -> Parse<Expr> {
        let offset = self.peek().offset;
        let first = self.primary();
        let first = self.or_stand_in(offset, first)?;
        self.members(first)
    }

    /// What is selected of an expression, called on it, looked up in it.
    fn members(&mut self, mut expr: Expr) -> Parse<Expr> {
        loop {
            let token = self.peek();
            if !matches!(token.tok, Tok::Dot | Tok::OpenBracket) {
                return Ok(expr);
            }
            if self.halted {
                return Err(Stop);
            }
            let after = self.peek_after(1);
            if token.tok == Tok::Dot && !matches!(after, Tok::Question | Tok::Ident | Tok::Quoted) {
                let recovering = self.recovering;
                self.take();
                self.recovering = recovering;
                self.no_alternative(token);
                self.skip(false);
                return Ok(expr);
            }
            self.take();
            let read = match token.tok {
                Tok::Dot => self.selected(token.offset, expr),
                _ => self.indexed(token.offset, expr),
            };
            let failed = read.is_err();
            expr = self.or_stand_in(token.offset, read)?;
            if failed && self.recovering {
                return Ok(expr);
            }
        }
    }

    fn indexed(&mut self, offset: usize, of: Expr) -> Parse<Expr> {
        let optional = self.accept(Tok::Question).is_some();
        if !optional && !self.begins() {
            self.mismatch(&with(&[Tok::Question]))?;
        }
        let index = self.within(&[Tok::CloseBracket], Self::expr)?;
        self.expect(Tok::CloseBracket)?;
        Ok(self.call(offset, if optional { "_[?_]" } else { "_[_]" }, vec![of, index]))
    }

    fn selected(&mut self, offset: usize, of: Expr) -> Parse<Expr> {
        let optional = self.accept(Tok::Question).is_some();
        if self.is(Tok::Quoted) {
            let name = self.take();
            self.fault(name.offset, "unsupported syntax: '`'");
            return Ok(of);
        }
        if !self.is(Tok::Ident) {
            self.mismatch(&[Tok::Ident, Tok::Quoted])?;
        }
        let name = self.take();
        if optional {
            let field = self.node(name.offset, Kind::Literal(Literal::String(name.text.into())));
            return Ok(self.call(offset, "_?._", vec![of, field]));
        }
        if self.is(Tok::OpenParen) {
            let open = self.take();
            let args = self.args()?;
            return self.member_call(open.offset, of, name.text, args);
        }
        let kind = Kind::Select { operand: Box::new(of), field: name.text.into(), test: false };
        Ok(self.node(offset, kind))
    }

    /// Arguments after the opening parenthesis.
    fn args(&mut self) -> Parse<Vec<Expr>> {
        self.inside(&[Tok::CloseParen, Tok::Comma], Tok::CloseParen, |p| {
            let mut args = Vec::new();
            if !p.is(Tok::CloseParen) && !p.begins() {
                p.mismatch(&with(&[Tok::CloseParen]))?;
            }
            while !p.is(Tok::CloseParen) || !args.is_empty() {
                args.push(p.expr()?);
                if p.accept(Tok::Comma).is_none() {
                    break;
                }
            }
            Ok(args)
        })
    }

    fn primary(&mut self) -> Parse<Expr> {
        self.begin()?;
        match self.peek().tok {
            Tok::Not | Tok::Minus if !self.is_number() => {
                self.mismatch(&STARTS)?;
                self.primary()
            }
            Tok::OpenParen => {
                self.take();
                let inner = self.within(&[Tok::CloseParen], Self::expr)?;
                self.expect(Tok::CloseParen)?;
                Ok(inner)
            }
            Tok::OpenBracket => self.list(),
            Tok::OpenBrace => self.map(),
            Tok::Dot | Tok::Ident => self.named(),
            _ => self.literal(),
        }
    }

    /// Whether a literal begins here, its sign included.
    fn is_number(&self) -> bool {
        self.is(Tok::Minus) && matches!(self.peek_after(1), Tok::Int | Tok::Float)
    }

    fn named(&mut self) -> Parse<Expr> {
        // A leading dot names the root; there are no containers, so it says nothing.
        if let Some(dot) = self.accept(Tok::Dot)
            && !self.is(Tok::Ident)
        {
            // It may select something of what is imagined before it.
            self.no_alternative(dot);
            self.at -= 1;
            return Err(Stop);
        }
        let mut length = 1;
        while self.peek_after(length) == Tok::Dot && self.peek_after(length + 1) == Tok::Ident {
            length += 2;
        }
        if self.peek_after(length) == Tok::OpenBrace {
            let mut name = String::new();
            for _ in 0..length {
                name.push_str(self.take().text);
            }
            return self.object(&name);
        }
        let name = self.take();
        if RESERVED.contains(&name.text) {
            self.fault(name.offset, format!("reserved identifier: {}", name.text));
        }
        if self.is(Tok::OpenParen) {
            let open = self.take();
            let args = self.args()?;
            return self.global_call(open.offset, name.text, args);
        }
        Ok(self.node(name.offset, Kind::Ident(name.text.into())))
    }

    fn object(&mut self, name: &str) -> Parse<Expr> {
        let open = self.take();
        let fields = self.inside(&[Tok::CloseBrace, Tok::Comma], Tok::CloseBrace, |p| {
            let mut fields = Vec::new();
            while !p.is(Tok::CloseBrace) {
                if fields.is_empty() && p.accept(Tok::Comma).is_some() {
                    break;
                }
                let optional = p.accept(Tok::Question).is_some();
                if !p.is(Tok::Ident) {
                    let set = [Tok::CloseBrace, Tok::Comma, Tok::Question, Tok::Ident, Tok::Quoted];
                    p.mismatch(&set)?;
                    continue;
                }
                let field = p.take();
                let colon = p.expect(Tok::Colon)?.map_or(field.offset, |colon| colon.offset);
                let value = p.expr()?;
                fields.push(Init { offset: colon, name: field.text.into(), value, optional });
                if p.accept(Tok::Comma).is_none() {
                    p.between(Tok::CloseBrace)?;
                    break;
                }
            }
            Ok(fields)
        })?;
        Ok(self.node(open.offset, Kind::Struct { name: name.into(), fields }))
    }

    fn list(&mut self) -> Parse<Expr> {
        let open = self.take();
        let items = self.inside(&[Tok::CloseBracket, Tok::Comma], Tok::CloseBracket, |p| {
            let mut items = Vec::new();
            while !p.is(Tok::CloseBracket) {
                if items.is_empty() && p.accept(Tok::Comma).is_some() {
                    break;
                }
                let optional = p.accept(Tok::Question).is_some();
                if !p.begins() {
                    if !items.is_empty() && !optional {
                        // After a comma the list may end, and must where nothing begins.
                        break;
                    }
                    p.mismatch(&match optional {
                        true => STARTS.to_vec(),
                        false => with(&[Tok::CloseBracket, Tok::Comma, Tok::Question]),
                    })?;
                    continue;
                }
                items.push(Item { value: p.expr()?, optional });
                if p.accept(Tok::Comma).is_none() {
                    p.between(Tok::CloseBracket)?;
                    break;
                }
            }
            Ok(items)
        })?;
        Ok(self.node(open.offset, Kind::List(items)))
    }

    fn map(&mut self) -> Parse<Expr> {
        let open = self.take();
        let entries = self.inside(&[Tok::CloseBrace, Tok::Comma], Tok::CloseBrace, |p| {
            let mut entries = Vec::new();
            while !p.is(Tok::CloseBrace) {
                if entries.is_empty() && p.accept(Tok::Comma).is_some() {
                    break;
                }
                let optional = p.accept(Tok::Question).is_some();
                if !p.begins() {
                    if !entries.is_empty() && !optional {
                        break;
                    }
                    p.mismatch(&match optional {
                        true => STARTS.to_vec(),
                        false => with(&[Tok::CloseBrace, Tok::Comma, Tok::Question]),
                    })?;
                    continue;
                }
                let key = p.within(&[Tok::Colon], Self::expr)?;
                p.expect(Tok::Colon)?;
                let value = p.expr()?;
                entries.push(Entry { key, value, optional });
                if p.accept(Tok::Comma).is_none() {
                    p.between(Tok::CloseBrace)?;
                    break;
                }
            }
            Ok(entries)
        })?;
        Ok(self.node(open.offset, Kind::Map(entries)))
    }

    fn literal(&mut self) -> Parse<Expr> {
        let start = self.peek();
        let negative = self.accept(Tok::Minus).is_some();
        let token = self.take();
        let value = match token.tok {
            Tok::True => Ok(Literal::Bool(true)),
            Tok::False => Ok(Literal::Bool(false)),
            Tok::Null => Ok(Literal::Null),
            Tok::Int => {
                text::int(token.text, negative).map(Literal::Int).ok_or("invalid int literal")
            }
            Tok::Uint => text::uint(token.text.trim_end_matches(['u', 'U']))
                .map(Literal::Uint)
                .ok_or("invalid uint literal"),
            Tok::Float => match token.text.parse::<f64>() {
                Ok(value) if value.is_finite() => {
                    Ok(Literal::Double(if negative { -value } else { value }))
                }
                _ => Err("invalid double literal"),
            },
            Tok::String => text::string(token.text).map(|s| Literal::String(s.into())),
            _ => text::bytes(token.text).map(|b| Literal::Bytes(Arc::from(b))),
        };
        let value = match value {
            Ok(value) => value,
            Err(message) => {
                self.fault(start.offset, message);
                Literal::Null
            }
        };
        Ok(self.node(start.offset, Kind::Literal(value)))
    }
}
