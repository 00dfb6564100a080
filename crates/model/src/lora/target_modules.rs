//! Which modules an adapter changes, by PEFT's rules and with Python's regular expressions.

use fancy_regex::Regex;
use serde_json::Value;

/// A regular expression of Python's `re`, with the features that PEFT configs use.
#[derive(Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// A key of `rank_pattern` or `alpha_pattern`. It matches the whole name or its end after a
    /// dot.
    pub(super) fn suffix(key: &str) -> Result<Self, String> {
        Self::new(&format!(r"\A(?:.*\.)?(?:{key})\z"), key)
    }

    /// Python's `fullmatch`.
    fn full(expression: &str) -> Result<Self, String> {
        Self::new(&format!(r"\A(?:{expression})\z"), expression)
    }

    fn new(whole: &str, written: &str) -> Result<Self, String> {
        match Regex::new(whole) {
            Ok(regex) => Ok(Self(regex)),
            Err(error) => Err(format!("{written:?} is not a regular expression: {error}")),
        }
    }

    pub(super) fn matches(&self, module: &str) -> Result<bool, String> {
        self.0
            .is_match(module)
            .map_err(|error| format!("the regular expression {}: {error}", self.0.as_str()))
    }
}

/// `target_modules` and the fields that restrict it.
#[derive(Debug)]
pub(super) struct TargetModules {
    targets: Targets,
    excluded: Option<Modules>,
    layers: Option<Layers>,
    /// `modules_to_save`, each with the pattern by which PEFT excludes targets.
    saved: Vec<(String, Pattern)>,
}

#[derive(Debug)]
enum Targets {
    /// Every linear layer except the output.
    AllLinear,
    Modules(Modules),
}

#[derive(Debug)]
enum Modules {
    Pattern(Pattern),
    /// Names, which match a whole module name or its end after a dot.
    Names(Vec<String>),
}

/// `layers_to_transform`: layer numbers, found by `patterns`.
#[derive(Debug)]
struct Layers {
    indices: Vec<u64>,
    patterns: Vec<Regex>,
}

/// PEFT's default targets for Llama, Mistral, Qwen2 and Qwen3. For the other families it has none.
const DEFAULT_TARGETS: [&str; 2] = ["q_proj", "v_proj"];

impl TargetModules {
    /// Parses these fields of the config.
    pub(super) fn parse(
        target_modules: Value,
        exclude_modules: Value,
        modules_to_save: Value,
        layers_to_transform: Value,
        layers_pattern: Value,
    ) -> Result<Self, String> {
        let is_text = target_modules.is_string();
        let layers = Layers::parse(layers_to_transform, layers_pattern)?;
        if is_text && layers.is_some() {
            return Err(
                "layers_to_transform needs a list of target_modules, as PEFT says".to_owned(),
            );
        }
        let targets = match target_modules {
            Value::String(text) if text.eq_ignore_ascii_case("all-linear") => Targets::AllLinear,
            targets => Targets::Modules(match Modules::parse("target_modules", targets)? {
                Some(modules) => modules,
                None => Modules::Names(DEFAULT_TARGETS.map(str::to_owned).into()),
            }),
        };
        let saved = names("modules_to_save", modules_to_save)?.unwrap_or_default();
        let saved = saved.into_iter().map(|name| {
            let within = format!(r"\A(?:^|.*\.){name}(?:$|\..*)");
            let pattern = Pattern::new(&within, &name);
            let pattern = pattern.map_err(|e| format!("modules_to_save: {e}"))?;
            Ok((name, pattern))
        });
        Ok(Self {
            targets,
            excluded: if is_empty(&exclude_modules) {
                None
            } else {
                Modules::parse("exclude_modules", exclude_modules)?
            },
            layers,
            saved: saved.collect::<Result<_, String>>()?,
        })
    }

    /// Whether the adapter has factors for this module: PEFT's `check_target_module_exists`.
    pub(super) fn contains(&self, module: &str) -> Result<bool, String> {
        if let Some(excluded) = &self.excluded
            && excluded.contains(module)?
        {
            return Ok(false);
        }
        for (_, pattern) in &self.saved {
            if pattern.matches(module)? {
                return Ok(false);
            }
        }
        match &self.targets {
            Targets::AllLinear => Ok(module != "lm_head" && !module.ends_with("embed_tokens")),
            Targets::Modules(Modules::Names(names)) if names.iter().any(|name| name == module) => {
                Ok(true)
            }
            Targets::Modules(modules) => Ok(modules.contains(module)?
                && match &self.layers {
                    Some(layers) => layers.contain(module)?,
                    None => true,
                }),
        }
    }

    /// The entry of `modules_to_save` that this module's name ends with.
    pub(super) fn saves(&self, module: &str) -> Option<&str> {
        let saved = self.saved.iter().map(|(name, _)| name.as_str());
        saved.into_iter().find(|name| module.ends_with(name))
    }
}

impl Modules {
    fn parse(field: &str, value: Value) -> Result<Option<Self>, String> {
        if let Value::String(expression) = &value {
            let pattern = Pattern::full(expression).map_err(|e| format!("{field}: {e}"))?;
            return Ok(Some(Self::Pattern(pattern)));
        }
        Ok(names(field, value)?.map(Self::Names))
    }

    fn contains(&self, module: &str) -> Result<bool, String> {
        match self {
            Self::Pattern(pattern) => pattern.matches(module),
            Self::Names(names) => Ok(names.iter().any(|name| {
                let rest = module.strip_suffix(name.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            })),
        }
    }
}

impl Layers {
    fn parse(indices: Value, pattern: Value) -> Result<Option<Self>, String> {
        let wrong =
            |indices: &Value| format!("layers_to_transform is {indices}, not layer numbers");
        let read = match &indices {
            Value::Null => Vec::new(),
            Value::Array(items) => {
                let numbers: Option<Vec<u64>> = items.iter().map(Value::as_u64).collect();
                numbers.ok_or_else(|| wrong(&indices))?
            }
            one => vec![one.as_u64().ok_or_else(|| wrong(&indices))?],
        };
        let names = match pattern {
            Value::String(name) => Some(vec![name]),
            other => names("layers_pattern", other)?,
        };
        let names: Vec<_> = names.unwrap_or_default();
        if read.is_empty() {
            return if names.is_empty() || !indices.is_null() {
                Ok(None)
            } else {
                Err("layers_pattern needs layers_to_transform, as PEFT says".to_owned())
            };
        }
        let expressions = if names.is_empty() {
            vec![r"\A.*?\.[^.]*\.(?P<idx>\d+)\.".to_owned()]
        } else {
            names
                .iter()
                .map(|name| format!(r"\A(?:^|.*?\.){name}\.(?P<idx>\d+)\."))
                .collect()
        };
        let patterns = expressions.iter().map(|expression| {
            Regex::new(expression).map_err(|e| format!("layers_pattern {names:?}: {e}"))
        });
        Ok(Some(Self {
            indices: read,
            patterns: patterns.collect::<Result<_, String>>()?,
        }))
    }

    fn contain(&self, module: &str) -> Result<bool, String> {
        for pattern in &self.patterns {
            let captures = pattern.captures(module);
            let captures = captures.map_err(|e| format!("layers_pattern on {module}: {e}"))?;
            if let Some(index) = captures.and_then(|it| it.name("idx")?.as_str().parse().ok()) {
                return Ok(self.indices.contains(&index));
            }
        }
        Ok(false)
    }
}

/// A list of names; `None` if the field is absent.
fn names(field: &str, value: Value) -> Result<Option<Vec<String>>, String> {
    match serde_json::from_value(value) {
        Ok(names) => Ok(names),
        Err(_) => Err(format!("{field} is not a list of names")),
    }
}

/// Whether PEFT treats the value as absent.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        other => other.is_null(),
    }
}
