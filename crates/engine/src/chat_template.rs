//! Renders chat messages to a prompt, as Hugging Face's `apply_chat_template` does.

mod bounds;
mod generation_tag;
mod json;
mod literals;
mod marks;
mod python;
mod source;
mod strftime;

use std::borrow::Cow;
use std::path::Path;
use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};

use crate::tokenizer::ControlTokens;
use crate::{RenderedPrompt, TextError, Tokenizer};
use marks::Marks;
pub use source::TemplateSource;

/// Limit on the instructions (and 64-byte units of memory) of one rendering. A chat of a thousand
/// messages takes about a twentieth of it.
const FUEL: u64 = 1_000_000;

/// Limit on calls of macros within calls, each of which counts four times.
const MAX_RECURSION: usize = 200;

const NAME: &str = "chat_template";

/// A compiled chat template. It is immutable and can be shared in an `Arc`.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// `bos_token` and the like.
    named_tokens: Value,
    control: ControlTokens,
    /// Control tokens that the template may look for in messages.
    constants: Vec<u32>,
    /// The template accepts a list of parts as content.
    takes_parts: bool,
    /// The template accepts a string as content.
    takes_strings: bool,
}

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`, or another role that the template knows.
    pub role: String,
    /// The content of the message.
    pub content: ChatContent,
    /// The name of the speaker, if given.
    pub name: Option<String>,
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatContent {
    /// One string.
    Text(String),
    /// Several parts. If the template only accepts strings, they are joined by newlines.
    Parts(Vec<String>),
}

impl ChatMessage {
    /// A message with one string and no name.
    pub fn new(role: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: ChatContent::Text(text.into()),
            name: None,
        }
    }
}

impl ChatTemplate {
    /// Compiles a template, and renders a few chats with it. `bos_token` and the like come from the
    /// tokenizer.
    ///
    /// # Errors
    /// [`TextError::BadTemplate`] if the source is not valid Jinja, or can render no chat.
    pub fn new(source: &str, tokenizer: &Tokenizer) -> Result<Self, TextError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|error| TextError::BadTemplate(error.to_string()))?;
        let source = generation_tag::remove(&literals::with_line_feeds(source));
        bounds::check(&source, &syntax)?;
        let source =
            literals::with_plain_escapes(&source, &syntax).map_err(TextError::BadTemplate)?;
        let control = tokenizer.control_tokens().clone();
        let constants = marks::in_constants(&source, &syntax, &control);
        environment.set_syntax(syntax);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(MAX_RECURSION);
        python::install(&mut environment);
        let compile = || environment.add_template_owned(NAME, source);
        bounds::with_deep_stack(compile)?
            .map_err(|error| TextError::BadTemplate(describe(&error)))?;
        let mut template = Self {
            environment,
            named_tokens: Value::from_pairs(tokenizer.named_tokens()),
            control,
            constants,
            takes_parts: false,
            takes_strings: true,
        };
        template.probe()?;
        Ok(template)
    }

    /// The chat template of a Hugging Face model directory: `chat_template.jinja`, or `chat_template` in
    /// `tokenizer_config.json` (the one named "default" if there are several) or
    /// `chat_template.json`.
    ///
    /// # Errors
    /// A file exists but cannot be read.
    pub fn source_in(directory: &Path) -> Result<Option<TemplateSource>, TextError> {
        source::find(directory)
    }

    /// The control token that the template writes after an answer, if it writes one at once: the end of
    /// an answer, whatever else ends one.
    pub fn turn_end(&self) -> Option<u32> {
        let answer = "content of an answer";
        let messages = [("user", "a question"), ("assistant", answer)];
        let value = |(role, text): (&str, &str)| {
            let content = match self.takes_strings {
                true => Value::from(text),
                false => parts(&[text.to_owned()]),
            };
            message_value(role, None, content)
        };
        let messages = messages.into_iter().map(value).collect();
        let prompt = self.render_values(messages, false, SystemTime::UNIX_EPOCH);
        let prompt = prompt.ok()?;
        let (_, after) = prompt.rsplit_once(answer)?;
        self.control.at_start_of(after.trim_start())
    }

    /// Renders the prompt of a chat. `add_generation_prompt` appends the start of the assistant's
    /// answer. Control tokens that messages spell stay text, also to the template. Only in the
    /// assistant's messages the template sees those that it looks for.
    ///
    /// # Errors
    /// [`TextError::Rejected`] with the template's message if it rejects the messages;
    /// [`TextError::Render`] if it fails.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<RenderedPrompt, TextError> {
        self.render_at(messages, add_generation_prompt, SystemTime::now())
    }

    /// The text of [`render`](Self::render). It takes little memory, so a long prompt can be refused by its
    /// length before its control tokens are searched.
    ///
    /// # Errors
    /// Those of [`render`](Self::render).
    pub fn render_text(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<String, TextError> {
        self.text_at(messages, add_generation_prompt, SystemTime::now())
    }

    fn text_at(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
        now: SystemTime,
    ) -> Result<String, TextError> {
        let messages = self.values(messages, |_, text| Cow::Borrowed(text));
        self.render_values(messages, add_generation_prompt, now)
    }

    /// Like [`render`](Self::render), with a given current time (UTC) for the template.
    pub fn render_at(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
        now: SystemTime,
    ) -> Result<RenderedPrompt, TextError> {
        let Some(mut marks) = Marks::needed(messages, &self.control)? else {
            let prompt = self.text_at(messages, add_generation_prompt, now)?;
            return Ok(RenderedPrompt::unmarked(prompt));
        };
        let render = |marks: &Marks<'_>| {
            let messages = self.values(messages, |role, text| marks.set(role, text));
            let prompt = self.render_values(messages, add_generation_prompt, now)?;
            Ok(RenderedPrompt::from_marked(&prompt, marks.character))
        };
        let mut prompt = render(&marks)?;
        // The template looks for a token if the prompt is another one without its marks.
        for id in marks.spelled_by_assistant(messages, &self.constants) {
            marks.left_to_template.push(id);
            let seen = render(&marks)?;
            if seen.text() == prompt.text() {
                marks.left_to_template.pop();
            } else {
                prompt = seen;
            }
        }
        Ok(prompt)
    }

    /// The messages as the template gets them. `mark` gets the role and a text.
    fn values<'m>(
        &self,
        messages: &'m [ChatMessage],
        mark: impl Fn(&str, &'m str) -> Cow<'m, str>,
    ) -> Vec<Value> {
        let value = |message: &'m ChatMessage| {
            let mark = |text: &'m String| mark(&message.role, text).into_owned();
            let content = match &message.content {
                ChatContent::Text(text) if self.takes_strings => Value::from(mark(text)),
                ChatContent::Text(text) => parts(&[mark(text)]),
                ChatContent::Parts(texts) => {
                    let texts: Vec<_> = texts.iter().map(mark).collect();
                    if self.takes_parts {
                        parts(&texts)
                    } else {
                        Value::from(texts.join("\n"))
                    }
                }
            };
            message_value(&message.role, message.name.as_ref().map(mark), content)
        };
        messages.iter().map(value).collect()
    }

    fn render_values(
        &self,
        messages: Vec<Value>,
        add_generation_prompt: bool,
        now: SystemTime,
    ) -> Result<String, TextError> {
        bounds::with_deep_stack(|| self.render_here(messages, add_generation_prompt, now))?
    }

    fn render_here(
        &self,
        messages: Vec<Value>,
        add_generation_prompt: bool,
        now: SystemTime,
    ) -> Result<String, TextError> {
        let context = context! {
            messages,
            add_generation_prompt,
            tools => (),
            documents => (),
            strftime_now => strftime::function(now),
            ..self.named_tokens.clone()
        };
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(context))
            .map_err(|error| match python::raised(&error) {
                Some(message) => TextError::Rejected(message.to_owned()),
                None if error.kind() == ErrorKind::OutOfFuel => {
                    TextError::Render("it exceeded its limit of instructions and memory".to_owned())
                }
                None => TextError::Render(describe(&error)),
            })
    }

    /// Tries which kinds of content the template accepts: a string, a list of parts, or both.
    ///
    /// # Errors
    /// It renders none of some ordinary chats, and not because it rejects them.
    fn probe(&mut self) -> Result<(), TextError> {
        let text = "content of a probe";
        let render = |roles: &[&str], content: &Value| {
            let message = |role: &&str| message_value(role, None, content.clone());
            let messages = roles.iter().map(message).collect();
            self.render_values(messages, true, SystemTime::UNIX_EPOCH)
        };
        let (string, list) = (Value::from(text), parts(&[text.to_owned()]));
        let of_user = [&string, &list].map(|content| render(&["user"], content));
        if of_user.iter().all(Result::is_err) {
            let others = [
                &["system", "user"][..],
                &["user", "assistant", "user"],
                &["system", "user", "assistant", "user"],
            ];
            let of_others = others.map(|roles| render(roles, &string));
            expect_one(of_user.iter().chain(&of_others))?;
        }
        let [from_string, from_parts] =
            of_user.map(|prompt| prompt.ok().filter(|prompt| prompt.contains(text)));
        self.takes_strings = from_string.is_some() || from_parts.is_none();
        // The prompts must be equal: a template for strings would print the list itself.
        self.takes_parts =
            from_parts.is_some() && (from_string == from_parts || from_string.is_none());
        Ok(())
    }
}

/// Refuses a template that failed in all of its trials. A chat that it rejects is none.
fn expect_one<'a>(
    trials: impl IntoIterator<Item = &'a Result<String, TextError>>,
) -> Result<(), TextError> {
    let mut failure = None;
    for trial in trials {
        match trial {
            Ok(_) => return Ok(()),
            Err(TextError::Rejected(_)) => {}
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    match failure {
        None => Ok(()),
        Some(error) => Err(TextError::BadTemplate(format!(
            "it renders no chat: {error}"
        ))),
    }
}

fn message_value(role: &str, name: Option<String>, content: Value) -> Value {
    let role = Value::from(role);
    let name = name.map(|name| ("name", Value::from(name)));
    Value::from_pairs(
        [("role", role), ("content", content)]
            .into_iter()
            .chain(name),
    )
}

fn parts(texts: &[String]) -> Value {
    let part = |text: &String| {
        Value::from_pairs([
            ("type", Value::from("text")),
            ("text", Value::from(text.as_str())),
        ])
    };
    texts.iter().map(part).collect::<Vec<_>>().into()
}

/// The error with its line, without minijinja's multi-line debug output.
fn describe(error: &minijinja::Error) -> String {
    let detail = error.detail().map(|detail| format!(": {detail}"));
    let line = error.line().map(|line| format!(" (line {line})"));
    format!(
        "{}{}{}",
        error.kind(),
        detail.unwrap_or_default(),
        line.unwrap_or_default()
    )
}
