//! `farthing render`: the prompt that a model gets for some messages.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, bail};
use farthing_api::ChatRequest;
use farthing_engine::ChatMessage;
use farthing_model::LoadFormat;
use serde_json::{Map, Value, json};

use super::output;
use crate::models::{self, ModelRequest};
use crate::request::local::chat_message;
use crate::startup::text::Text;
use crate::visible::visible_json;

/// Flags of `render`.
#[derive(Clone, Debug, clap::Args)]
pub struct RenderArgs {
    /// File with messages in JSON, a list or the body of a chat request; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The model, as in `serve`
    #[arg(long, default_value = super::values::DEMO_MODEL)]
    model: String,
    /// Branch, tag or commit on the hub
    #[arg(long)]
    revision: Option<String>,
    /// File with a chat template (Jinja) to use instead of the model's own
    #[arg(long, value_name = "TEMPLATE")]
    chat_template: Option<PathBuf>,
    /// Leave out the beginning of the answer
    #[arg(long)]
    no_generation_prompt: bool,
    /// Print JSON: the prompt, its token ids, and each token's text
    #[arg(long)]
    json: bool,
}

/// Prints the prompt as it is, or JSON.
///
/// # Errors
/// The model or the messages cannot be read, or the template rejects them.
pub fn run(args: &RenderArgs) -> anyhow::Result<()> {
    let messages = messages(args)?;
    let request = ModelRequest {
        model: &args.model,
        revision: args.revision.as_deref(),
        load_format: LoadFormat::Auto,
    };
    let resolved = models::resolve(request, &output::tell)?;
    let checkpoint = resolved.open(LoadFormat::Auto, 0)?;
    let text = Text::load(&resolved, &checkpoint, args.chat_template.as_deref())?;
    let Some(template) = text.chat_template else {
        bail!(
            "{} has no chat template: pass one with --chat-template",
            args.model
        );
    };
    let prompt = template.render(&messages, !args.no_generation_prompt)?;
    if !args.json {
        return output::print_line(prompt.text());
    }
    let ids = text.tokenizer.encode_rendered(&prompt)?;
    let tokens: Vec<String> = ids
        .iter()
        .map(|id| text.tokenizer.decode(&[*id], false))
        .collect();
    let report = json!({
        "tokenizer": text.tokenizer_origin,
        "chat_template": text.template_origin,
        "prompt": prompt.text(),
        "ids": ids,
        "tokens": tokens,
    });
    output::print_line(visible_json(&format!("{report:#}")))
}

/// The messages, validated as those of a request.
fn messages(args: &RenderArgs) -> anyhow::Result<Vec<ChatMessage>> {
    let text = if args.file.as_os_str() == "-" {
        io::read_to_string(io::stdin()).context("cannot read standard input")?
    } else {
        fs::read_to_string(&args.file)
            .with_context(|| format!("cannot read {}", args.file.display()))?
    };
    let value: Value = serde_json::from_str(&text).context("the messages are not JSON")?;
    let messages = match value {
        Value::Object(mut body) => body.remove("messages").context("there are no `messages`")?,
        messages => messages,
    };
    let mut body = Map::new();
    body.insert("model".to_owned(), args.model.as_str().into());
    body.insert("messages".to_owned(), messages);
    let request = ChatRequest::from_json(&serde_json::to_vec(&body)?)?;
    Ok(request.messages.into_iter().map(chat_message).collect())
}
