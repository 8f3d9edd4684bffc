//! Text to tree: a parser by hand for the grammar of the language, with the messages that upstream's
//! generated parser gives for the first fault.
//!
//! Not here: what macros expand to (`macros`), names and types (`check`).

mod lex;
mod macros;
mod text;

use std::sync::Arc;

use crate::ast::{Call, Entry, Expr, Id, Init, Item, Kind, Literal};
use crate::source::{CompileError, CompileErrors};
use lex::{Tok, Token, printed};

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

/// What begins an expression.
const STARTS: [Tok; 15] = [
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
    let mut parser =
        Parser { tokens, at: 0, nodes: 0, depth: 0, open: 0, bindings, too_deep: false, errors };
    let root = parser.start();
    match root {
        Ok(root) if parser.errors.is_empty() => Ok(Parsed { root, nodes: parser.nodes }),
        Ok(_) | Err(Stop) => Err(CompileErrors::new(source, parser.errors)),
    }
}

/// A fault has been noted; nothing more is read.
struct Stop;

type Parse<T> = Result<T, Stop>;

struct Parser<'s> {
    tokens: Vec<Token<'s>>,
    at: usize,
    nodes: usize,
    depth: usize,
    /// How many brackets are open.
    open: usize,
    bindings: bool,
    too_deep: bool,
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
        }
        token
    }

    fn accept(&mut self, tok: Tok) -> Option<Token<'s>> {
        self.is(tok).then(|| self.take())
    }

    fn fault(&mut self, offset: usize, message: impl Into<String>) {
        self.errors.push(CompileError::new(offset, message));
    }

    fn mismatch<T>(&mut self, expected: &[Tok]) -> Parse<T> {
        let token = self.peek();
        let set = expecting(expected);
        let message =
            format!("Syntax error: mismatched input '{}' expecting {set}", printed(token.text));
        self.fault(token.offset, message);
        Err(Stop)
    }

    /// One token that must come now.
    fn expect(&mut self, tok: Tok) -> Parse<Token<'s>> {
        if self.is(tok) {
            return Ok(self.take());
        }
        let token = self.peek();
        let text = printed(token.text);
        if token.tok != Tok::End && self.peek_after(1) == tok {
            let name = tok.name();
            self.fault(
                token.offset,
                format!("Syntax error: extraneous input '{text}' expecting {name}"),
            );
            return Err(Stop);
        }
        let closes = matches!(tok, Tok::CloseParen | Tok::CloseBracket | Tok::CloseBrace);
        let follows = binary(token.tok).is_some() || (token.tok == Tok::End && self.open == 1);
        if closes && follows {
            self.fault(token.offset, format!("Syntax error: missing {} at '{text}'", tok.name()));
            return Err(Stop);
        }
        self.mismatch(&[tok])
    }

    fn id(&mut self) -> Id {
        self.nodes += 1;
        self.nodes - 1
    }

    fn node(&mut self, offset: usize, kind: Kind) -> Expr {
        let depth = kind.depth_below() + 1;
        if depth > MAX_TREE && !self.too_deep {
            self.too_deep = true;
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
            self.fault(
                token.offset,
                format!("Syntax error: {what} input '{text}' expecting <EOF>"),
            );
            return Err(Stop);
        }
        Ok(root)
    }

    /// A whole expression, one level deeper than the one around it.
    fn expr(&mut self) -> Parse<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let offset = self.peek().offset;
            self.fault(offset, format!("expression recursion limit exceeded: {MAX_DEPTH}"));
            return Err(Stop);
        }
        let condition = self.operators(0)?;
        let expr = match self.accept(Tok::Question) {
            None => condition,
            Some(op) => {
                let then = self.operators(0)?;
                self.expect(Tok::Colon)?;
                let otherwise = self.expr()?;
                self.call(op.offset, "_?_:_", vec![condition, then, otherwise])
            }
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn operators(&mut self, least: u8) -> Parse<Expr> {
        let mut left = self.unary()?;
        while let Some((binds, function)) = binary(self.peek().tok) {
            if binds < least {
                break;
            }
            if self.too_deep {
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
        let tok = self.peek().tok;
        let number = |t: Tok| matches!(t, Tok::Int | Tok::Float);
        if tok == Tok::Not || (tok == Tok::Minus && !number(self.peek_after(1))) {
            let op = self.take();
            let mut count = 1;
            while self.is(tok) && !(tok == Tok::Minus && number(self.peek_after(1))) {
                self.take();
                count += 1;
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
        let mut expr = self.primary()?;
        loop {
            let token = self.peek();
            if !matches!(token.tok, Tok::Dot | Tok::OpenBracket) {
                return Ok(expr);
            }
            if self.too_deep {
                return Err(Stop);
            }
            self.take();
            let optional = self.accept(Tok::Question).is_some();
            if token.tok == Tok::OpenBracket {
                self.open += 1;
                let index = self.expr()?;
                self.expect(Tok::CloseBracket)?;
                self.open -= 1;
                let function = if optional { "_[?_]" } else { "_[_]" };
                expr = self.call(token.offset, function, vec![expr, index]);
                continue;
            }
            if !self.is(Tok::Ident) {
                return self.mismatch(&[Tok::Ident]);
            }
            let name = self.take();
            expr = if optional {
                let field =
                    self.node(name.offset, Kind::Literal(Literal::String(name.text.into())));
                self.call(token.offset, "_?._", vec![expr, field])
            } else if self.is(Tok::OpenParen) {
                let open = self.take();
                let args = self.args()?;
                self.member_call(open.offset, expr, name.text, args)?
            } else {
                let kind =
                    Kind::Select { operand: Box::new(expr), field: name.text.into(), test: false };
                self.node(token.offset, kind)
            };
        }
    }

    /// Arguments after the opening parenthesis.
    fn args(&mut self) -> Parse<Vec<Expr>> {
        self.open += 1;
        let mut args = Vec::new();
        if !self.is(Tok::CloseParen) {
            if !STARTS.contains(&self.peek().tok) {
                return self.mismatch(&with(&[Tok::CloseParen]));
            }
            loop {
                args.push(self.expr()?);
                if self.accept(Tok::Comma).is_none() {
                    break;
                }
            }
        }
        self.expect(Tok::CloseParen)?;
        self.open -= 1;
        Ok(args)
    }

    fn primary(&mut self) -> Parse<Expr> {
        let token = self.peek();
        match token.tok {
            Tok::OpenParen => {
                self.take();
                self.open += 1;
                let inner = self.expr()?;
                self.expect(Tok::CloseParen)?;
                self.open -= 1;
                Ok(inner)
            }
            Tok::OpenBracket => self.list(),
            Tok::OpenBrace => self.map(),
            Tok::Dot | Tok::Ident => self.named(),
            Tok::Minus
            | Tok::True
            | Tok::False
            | Tok::Null
            | Tok::Float
            | Tok::Int
            | Tok::Uint
            | Tok::String
            | Tok::Bytes => self.literal(),
            _ => self.mismatch(&STARTS),
        }
    }

    fn named(&mut self) -> Parse<Expr> {
        // A leading dot names the root; there are no containers, so it says nothing.
        self.accept(Tok::Dot);
        if !self.is(Tok::Ident) {
            return self.mismatch(&[Tok::Ident]);
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
        self.open += 1;
        let mut fields = Vec::new();
        while !self.is(Tok::CloseBrace) {
            if fields.is_empty() && self.is(Tok::Comma) {
                self.take();
                break;
            }
            let optional = self.accept(Tok::Question).is_some();
            if !self.is(Tok::Ident) {
                return self.mismatch(&[Tok::CloseBrace, Tok::Comma, Tok::Question, Tok::Ident]);
            }
            let field = self.take();
            let colon = self.expect(Tok::Colon)?;
            let value = self.expr()?;
            fields.push(Init { offset: colon.offset, name: field.text.into(), value, optional });
            if self.accept(Tok::Comma).is_none() {
                break;
            }
        }
        self.expect(Tok::CloseBrace)?;
        self.open -= 1;
        Ok(self.node(open.offset, Kind::Struct { name: name.into(), fields }))
    }

    fn list(&mut self) -> Parse<Expr> {
        let open = self.take();
        self.open += 1;
        let mut items = Vec::new();
        while !self.is(Tok::CloseBracket) {
            if items.is_empty() && self.accept(Tok::Comma).is_some() {
                break;
            }
            let optional = self.accept(Tok::Question).is_some();
            if !STARTS.contains(&self.peek().tok) {
                return self.mismatch(&with(&[Tok::CloseBracket, Tok::Comma, Tok::Question]));
            }
            items.push(Item { value: self.expr()?, optional });
            if self.accept(Tok::Comma).is_none() {
                break;
            }
        }
        if !self.is(Tok::CloseBracket) {
            return self.mismatch(&[Tok::CloseBracket, Tok::Comma]);
        }
        self.take();
        self.open -= 1;
        Ok(self.node(open.offset, Kind::List(items)))
    }

    fn map(&mut self) -> Parse<Expr> {
        let open = self.take();
        self.open += 1;
        let mut entries = Vec::new();
        while !self.is(Tok::CloseBrace) {
            if entries.is_empty() && self.accept(Tok::Comma).is_some() {
                break;
            }
            let optional = self.accept(Tok::Question).is_some();
            if !STARTS.contains(&self.peek().tok) {
                return self.mismatch(&with(&[Tok::CloseBrace, Tok::Comma, Tok::Question]));
            }
            let key = self.expr()?;
            self.expect(Tok::Colon)?;
            let value = self.expr()?;
            entries.push(Entry { key, value, optional });
            if self.accept(Tok::Comma).is_none() {
                break;
            }
        }
        if !self.is(Tok::CloseBrace) {
            return self.mismatch(&[Tok::CloseBrace, Tok::Comma]);
        }
        self.take();
        self.open -= 1;
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

/// What begins an expression, and more.
fn with(more: &[Tok]) -> Vec<Tok> {
    STARTS.iter().chain(more).copied().collect()
}

fn expecting(expected: &[Tok]) -> String {
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
