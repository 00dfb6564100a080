//! What the hub says about a repository.

use std::collections::BTreeSet;

use hf_hub::api::sync::{ApiError, ApiRepo};
use serde::Deserialize;

/// A commit of a repository.
#[derive(Debug, Deserialize)]
pub(super) struct HubInfo {
    /// How the hub spells the name of the repository. Mirrors may leave it out.
    #[serde(default)]
    id: Option<String>,
    /// The commit.
    pub(super) sha: String,
    siblings: Vec<HubFile>,
}

#[derive(Debug, Deserialize)]
struct HubFile {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
}

impl HubInfo {
    /// Asks the hub. This blocks.
    pub(super) fn ask(repo: &ApiRepo) -> Result<Self, ApiError> {
        let mut answer = repo
            .info_request()
            // With the sizes of files.
            .query("blobs", "true")
            .call()
            .map_err(Box::new)?;
        Ok(answer.body_mut().read_json().map_err(Box::new)?)
    }

    /// The names of its files.
    pub(super) fn files(&self) -> BTreeSet<String> {
        let files = self.siblings.iter();
        files.map(|file| file.rfilename.clone()).collect()
    }

    /// Refuses a file before it is downloaded, if it is larger than `max_bytes`. The error is the reason.
    pub(super) fn check_size(&self, file: &str, max_bytes: u64) -> Result<(), String> {
        let mut files = self.siblings.iter();
        let size = files.find(|it| it.rfilename == file).and_then(|it| it.size);
        match size.filter(|size| *size > max_bytes) {
            Some(size) => Err(format!(
                "its {file} has {size} bytes, more than the memory for adapters has room for"
            )),
            None => Ok(()),
        }
    }

    /// Refuses a name that differs from the hub's only in case. The hub takes both for one repository,
    /// which would be stored and served twice here. The error is the reason.
    pub(super) fn check_id(&self, asked: &str) -> Result<(), String> {
        match &self.id {
            Some(id) if id != asked && id.eq_ignore_ascii_case(asked) => {
                Err(format!("the hub calls it `{id}`: use this name"))
            }
            _ => Ok(()),
        }
    }
}
