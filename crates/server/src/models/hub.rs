//! Models on the Hugging Face hub.

use std::{
    collections::BTreeSet,
    env, fs,
    net::{TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use axum::http::Uri;
use hf_hub::{
    Repo, RepoType,
    api::sync::{ApiBuilder, ApiError, ApiRepo},
};
use serde::Deserialize;

use super::{
    cache::{self, Cache},
    error::ModelSourceError,
    hub_info::HubInfo,
};

/// A model on the hub.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct HubSource {
    pub(crate) repo: String,
    #[serde(default = "main_revision")]
    pub(crate) revision: String,
}

/// Which files to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Configuration, tokenizer and weights.
    Everything,
    /// All but the weights.
    NoWeights,
    /// An adapter's configuration and weights.
    Adapter { max_file_bytes: u64 },
}

impl Wanted {
    /// The file that every repository of this kind has.
    fn config(self) -> &'static str {
        match self {
            Self::Everything | Self::NoWeights => "config.json",
            Self::Adapter { .. } => ADAPTER_CONFIG,
        }
    }

    /// The files to fetch beside the weights, if the repository has them. Never pickles, never
    /// code.
    fn small_files(self) -> &'static [&'static str] {
        match self {
            Self::Everything | Self::NoWeights => &SMALL_FILES,
            Self::Adapter { .. } => &[ADAPTER_CONFIG],
        }
    }
}

/// Access to the hub.
#[derive(Clone, Debug)]
pub(crate) struct Hub {
    pub(crate) endpoint: String,
    pub(crate) cache: hf_hub::Cache,
    pub(crate) token: Option<String>,
    /// Never connect.
    pub(crate) offline: bool,
}

const SMALL_FILES: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];
const ADAPTER_CONFIG: &str = "adapter_config.json";
const ADAPTER: &str = "adapter_model.safetensors";
const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Short, so that a start without a network is not delayed.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(2500);
/// The hub may be slow to respond, but the request is small.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

fn main_revision() -> String {
    "main".to_owned()
}

impl HubSource {
    /// Parses `owner/name`; `None` for anything else, for example paths with `..`.
    pub(crate) fn parse(id: &str, revision: Option<&str>) -> Option<Self> {
        let (owner, name) = id.split_once('/')?;
        let is_part = |part: &str| {
            (1..=96).contains(&part.len())
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
                && !part.starts_with(['-', '.'])
                && !part.contains("..")
        };
        let revision = revision.map_or_else(main_revision, str::to_owned);
        (is_part(owner) && is_part(name)).then(|| Self {
            repo: id.to_owned(),
            revision,
        })
    }

    fn at(&self, revision: &str) -> Repo {
        Repo::with_revision(self.repo.clone(), RepoType::Model, revision.to_owned())
    }

    fn refused(&self, reason: impl Into<String>) -> ModelSourceError {
        ModelSourceError::Hub {
            repo: self.repo.clone(),
            reason: reason.into(),
        }
    }

    fn failed(&self, error: ApiError) -> ModelSourceError {
        let ApiError::RequestError(request) = &error else {
            return match error {
                ApiError::IoError(source) => ModelSourceError::io(Path::new(&self.repo))(source),
                other => self.refused(other.to_string()),
            };
        };
        match **request {
            ureq::Error::StatusCode(401 | 403) => self.refused(
                "access denied: the model is gated, private or does not exist; accept its licence \
                 on the hub and set HF_TOKEN",
            ),
            ureq::Error::StatusCode(404) => self.refused(format!(
                "not found at revision `{}`: check the model and the revision",
                self.revision
            )),
            _ => ModelSourceError::HubUnreachable {
                reason: request.to_string(),
            },
        }
    }
}

impl Hub {
    /// Uses `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE`, as Hugging Face's own tools
    /// do.
    pub(crate) fn from_env() -> Self {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let cache = hf_hub::Cache::from_env();
        Self {
            endpoint: variable("HF_ENDPOINT").unwrap_or("https://huggingface.co".to_owned()),
            token: variable("HF_TOKEN").or_else(|| cache.token()),
            cache,
            offline: variable("HF_HUB_OFFLINE").is_some_and(|value| value != "0"),
        }
    }

    /// The directory of a model that is completely in the cache.
    pub(crate) fn cached(&self, source: &HubSource, wanted: Wanted) -> Option<PathBuf> {
        let named = self
            .cache
            .repo(source.at(&source.revision))
            .get(wanted.config());
        // The cache has no ref for a commit, only its directory.
        let commit = || {
            let folder = self
                .cache
                .repo(source.at("main"))
                .pointer_path(&source.revision);
            Some(folder.join(wanted.config())).filter(|config| config.exists())
        };
        let folder = named.or_else(commit)?.parent()?.to_owned();
        let has = |name: &str| folder.join(name).exists();
        let has_weights = || {
            if has(INDEX) {
                shards(&folder.join(INDEX)).is_ok_and(|names| names.iter().all(|it| has(it)))
            } else {
                has(WHOLE)
            }
        };
        let is_whole = match wanted {
            Wanted::Everything => has("tokenizer.json") && has_weights(),
            Wanted::NoWeights => has("tokenizer.json"),
            Wanted::Adapter { .. } => has(ADAPTER),
        };
        is_whole.then_some(folder)
    }

    /// Downloads the missing files of a model into Hugging Face's cache and returns their
    /// directory.
    pub(crate) fn fetch(
        &self,
        source: &HubSource,
        wanted: Wanted,
        locks: &Cache,
        say: &dyn Fn(&str),
    ) -> Result<PathBuf, ModelSourceError> {
        if self.offline {
            let reason = "HF_HUB_OFFLINE is set".to_owned();
            return Err(ModelSourceError::HubUnreachable { reason });
        }
        self.connect()?;
        let api = ApiBuilder::from_cache(self.cache.clone())
            .with_endpoint(self.endpoint.clone())
            .with_token(self.token.clone())
            .with_retries(3)
            .build()
            .map_err(|error| source.failed(error))?;
        let branch = api.repo(source.at(&source.revision));
        let info = within(ANSWER_TIMEOUT, move || HubInfo::ask(&branch)).ok_or_else(|| {
            let reason = format!("no answer within {ANSWER_TIMEOUT:?}");
            ModelSourceError::HubUnreachable { reason }
        })?;
        let info = info.map_err(|error| source.failed(error))?;
        let checked = info.check_id(&source.repo).and_then(|()| match wanted {
            Wanted::Adapter { max_file_bytes } => info.check_size(ADAPTER, max_file_bytes),
            Wanted::Everything | Wanted::NoWeights => Ok(()),
        });
        checked.map_err(|reason| source.refused(reason))?;
        // Only now, so that asking for what does not exist leaves no files.
        let entry = locks.entry(&format!("hub--{}", source.repo.replace('/', "--")))?;
        let _lock = entry.lock(say)?;
        // All files come from one commit, even if the branch moves meanwhile.
        let repo = api.repo(source.at(&info.sha));
        let download = Download {
            source,
            repo: &repo,
            say,
        };
        let offered = info.files();
        let mut config = None;
        let small_files = wanted.small_files().iter();
        for name in small_files.filter(|name| offered.contains(**name)) {
            let path = download.file(name)?;
            config = config.or(Some(path).filter(|_| *name == wanted.config()));
        }
        let Some(folder) = config.as_deref().and_then(Path::parent) else {
            let reason = format!("has no {}, which is required", wanted.config());
            return Err(source.refused(reason));
        };
        match wanted {
            Wanted::Everything => download.weights(&offered)?,
            Wanted::NoWeights => {}
            Wanted::Adapter { .. } if offered.contains(ADAPTER) => download.weight_file(ADAPTER)?,
            Wanted::Adapter { .. } => {
                return Err(source.refused(format!(
                    "has no {ADAPTER}; pickled adapters are never read: save it as safetensors, \
                     as PEFT does by default"
                )));
            }
        }
        self.cache
            .repo(source.at(&source.revision))
            .create_ref(&info.sha)
            .map_err(ModelSourceError::io(self.cache.path()))?;
        say(&format!("cached at {}", folder.display()));
        Ok(folder.to_owned())
    }

    /// Checks that the hub can be reached. hf-hub itself would wait for minutes if packets are
    /// dropped.
    fn connect(&self) -> Result<(), ModelSourceError> {
        let unreachable = |reason: String| ModelSourceError::HubUnreachable { reason };
        // With a proxy, it is the proxy that must be reachable.
        let proxy = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
            .into_iter()
            .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
        let address = proxy.unwrap_or_else(|| self.endpoint.clone());
        let uri: Uri = address
            .parse()
            .map_err(|error| unreachable(format!("`{address}`: {error}")))?;
        let Some(host) = uri.host().map(str::to_owned) else {
            return Err(unreachable(format!("`{address}` has no host")));
        };
        let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
            Some("https") => 443,
            _ => 80,
        });
        // The resolver has no time limit, so it runs on a thread that may outlive this call.
        within(CONNECT_TIMEOUT, move || {
            let addresses = (host.trim_matches(['[', ']']), port).to_socket_addrs();
            let mut reason = format!("{host} cannot be resolved");
            for address in addresses.map_err(|error| format!("{host}: {error}"))? {
                match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                    Ok(_) => return Ok(()),
                    Err(error) => reason = format!("{host}: {error}"),
                }
            }
            Err(reason)
        })
        .unwrap_or_else(|| Err(format!("no connection within {CONNECT_TIMEOUT:?}")))
        .map_err(unreachable)
    }
}

/// Runs `work` on a thread; `None` if it takes too long.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // After the limit nobody receives the result.
        let _ = sender.send(work());
    });
    receiver.recv_timeout(limit).ok()
}

/// A download in progress.
struct Download<'a> {
    source: &'a HubSource,
    repo: &'a ApiRepo,
    say: &'a dyn Fn(&str),
}

impl Download<'_> {
    fn file(&self, name: &str) -> Result<PathBuf, ModelSourceError> {
        self.repo
            .get(name)
            .map_err(|error| self.source.failed(error))
    }

    fn weights(&self, offered: &BTreeSet<String>) -> Result<(), ModelSourceError> {
        let names = if offered.contains(INDEX) {
            shards(&self.file(INDEX)?).map_err(|reason| self.source.refused(reason))?
        } else if offered.contains(WHOLE) {
            vec![WHOLE.to_owned()]
        } else {
            return Err(self.source.refused(format!(
                "has neither {WHOLE} nor {INDEX}; pickled weights are never read, choose a model \
                 with safetensors, or download a GGUF file and use its path as the model"
            )));
        };
        names.iter().try_for_each(|name| self.weight_file(name))
    }

    fn weight_file(&self, name: &str) -> Result<(), ModelSourceError> {
        (self.say)(&format!("downloading {name} of {}", self.source.repo));
        self.verify(name, &self.file(name)?)
    }

    /// The hub names a large file by its SHA-256, and Hugging Face's cache does too.
    fn verify(&self, name: &str, path: &Path) -> Result<(), ModelSourceError> {
        let blob = fs::canonicalize(path).map_err(ModelSourceError::io(path))?;
        let called = blob
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let is_sha256 =
            |name: &String| name.len() == 64 && name.chars().all(|c| c.is_ascii_hexdigit());
        let Some(expected) = called.filter(is_sha256) else {
            return Ok(());
        };
        let found = cache::hash_file(&blob)?;
        if found == expected {
            (self.say)(&format!("verified sha256 {found}"));
            return Ok(());
        }
        for path in [path, &blob] {
            fs::remove_file(path).map_err(ModelSourceError::io(path))?;
        }
        let what = format!("{name} of {}", self.source.repo);
        Err(ModelSourceError::Hash {
            what,
            expected,
            found,
        })
    }
}

/// The files that an index lists. Only plain names of safetensors files are accepted.
fn shards(index: &Path) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let bytes = fs::read(index).map_err(|error| format!("{INDEX}: {error}"))?;
    let index: Index =
        serde_json::from_slice(&bytes).map_err(|error| format!("{INDEX}: {error}"))?;
    let names: BTreeSet<_> = index.weight_map.into_values().collect();
    for name in &names {
        if name.contains(['/', '\\']) || !name.ends_with(".safetensors") {
            return Err(format!(
                "{INDEX} points to `{name}`, which is not a safetensors file"
            ));
        }
    }
    Ok(names.into_iter().collect())
}
