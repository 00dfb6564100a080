//! Limits on a template, so that a file that someone else wrote cannot end the process.
//!
//! Jinja is compiled and displayed recursively. [`check`] limits the nesting of the source, and refuses
//! values that could contain themselves. What remains is limited by the fuel, and [`with_deep_stack`]
//! provides the stack for it.

use std::collections::HashSet;
use std::thread;

use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;

use crate::TextError;

/// The largest template of the models that people fine-tune has about 30 KB.
const MAX_SOURCE_BYTES: usize = 512 << 10;

/// Limit on blocks within blocks, and on brackets within brackets.
const MAX_DEPTH: usize = 64;

/// Limit on the tokens of one tag: a chain of operators is compiled recursively.
const MAX_TAG_TOKENS: usize = 4096;

/// Limit on `elif`s, each of which is compiled inside of the one before.
const MAX_ELIFS: usize = 1000;

/// Virtual memory for the stack. A value that is nested as deep as the fuel allows takes less to display.
const STACK_BYTES: usize = 512 << 20;

/// Refuses a source that is too large, too deep, or could make a value that contains itself.
pub(super) fn check(source: &str, syntax: &SyntaxConfig) -> Result<(), TextError> {
    let refuse =
        |line: usize, reason: &str| Err(TextError::BadTemplate(format!("{reason} (line {line})")));
    if source.len() > MAX_SOURCE_BYTES {
        let bytes = source.len();
        return refuse(
            1,
            &format!("it has {bytes} bytes, more than {MAX_SOURCE_BYTES}"),
        );
    }
    let mut tag = Vec::new();
    let mut namespaces = Namespaces::default();
    let (mut blocks, mut brackets, mut elifs) = (0_usize, 0_usize, 0);
    for token in tokenize(source, false, syntax.clone()) {
        // The parser reports what is not a token, with more about where it is.
        let Ok((token, span)) = token else {
            return Ok(());
        };
        let line = span.start_line as usize;
        match token {
            Token::TemplateData(_) => continue,
            Token::BlockStart | Token::VariableStart => {
                tag.clear();
                brackets = 0;
            }
            Token::BracketOpen | Token::ParenOpen | Token::BraceOpen => brackets += 1,
            Token::BracketClose | Token::ParenClose | Token::BraceClose => {
                brackets = brackets.saturating_sub(1);
            }
            _ => {}
        }
        let is_end = matches!(token, Token::BlockEnd | Token::VariableEnd);
        tag.push(token);
        if brackets > MAX_DEPTH || tag.len() > MAX_TAG_TOKENS {
            return refuse(line, "its expressions are nested too deeply or too long");
        }
        if !is_end {
            continue;
        }
        blocks = match Nesting::of(&tag) {
            Nesting::Opens => blocks + 1,
            Nesting::Closes => blocks.saturating_sub(1),
            Nesting::Stays => blocks,
        };
        elifs += usize::from(matches!(tag.get(1), Some(Token::Ident("elif"))));
        if blocks > MAX_DEPTH || elifs > MAX_ELIFS {
            return refuse(line, "its blocks are nested too deeply");
        }
        if let Err(name) = namespaces.see(&tag) {
            let reason = format!(
                "namespace `{name}` is used as a value: only its attributes can be read and set"
            );
            return refuse(line, &reason);
        }
    }
    Ok(())
}

/// Calls `f` on a thread with a large stack. A panic is an error of the template: the template engine
/// panics for some that it should refuse.
pub(super) fn with_deep_stack<R: Send>(f: impl FnOnce() -> R + Send) -> Result<R, TextError> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(STACK_BYTES);
        let started = builder
            .name("chat-template".to_owned())
            .spawn_scoped(scope, f);
        let thread = started.map_err(|error| TextError::Render(error.to_string()))?;
        thread.join().map_err(|_| {
            TextError::BadTemplate("the template engine panicked and cannot run it".to_owned())
        })
    })
}

/// What a tag does to the depth of blocks.
enum Nesting {
    Opens,
    Closes,
    Stays,
}

impl Nesting {
    fn of(tag: &[Token<'_>]) -> Self {
        let [Token::BlockStart, Token::Ident(keyword), rest @ ..] = tag else {
            return Self::Stays;
        };
        match *keyword {
            // Without a value it is a block.
            "set" if rest.iter().any(|token| matches!(token, Token::Assign)) => Self::Stays,
            "set" | "if" | "for" | "macro" | "call" | "filter" | "block" | "with"
            | "autoescape" => Self::Opens,
            end if end.starts_with("end") => Self::Closes,
            _ => Self::Stays,
        }
    }
}

/// Namespaces are the only values that change after they are made. As long as none is used as a value,
/// none can contain itself: displaying one that does would never end.
#[derive(Default)]
struct Namespaces {
    names: HashSet<String>,
}

impl Namespaces {
    /// Reads a tag. The error is the namespace that is used as a value.
    fn see(&mut self, tag: &[Token<'_>]) -> Result<(), String> {
        let mut values = tag;
        if let [
            Token::BlockStart,
            Token::Ident("set"),
            Token::Ident(name),
            Token::Assign,
            value @ ..,
        ] = tag
        {
            values = value;
            if let [Token::Ident("namespace"), Token::ParenOpen, arguments @ ..] = value {
                self.names.insert((*name).to_owned());
                values = arguments;
            }
        }
        for (i, token) in values.iter().enumerate() {
            let Token::Ident(name) = token else {
                continue;
            };
            let is_attribute = i > 0 && matches!(values[i - 1], Token::Dot);
            let is_keyword_argument = matches!(values.get(i + 1), Some(Token::Assign));
            let is_read = matches!(values.get(i + 1), Some(Token::Dot));
            let is_namespace = self.names.contains(*name) && !is_read;
            if (is_namespace || *name == "namespace") && !is_attribute && !is_keyword_argument {
                return Err((*name).to_owned());
            }
        }
        Ok(())
    }
}
