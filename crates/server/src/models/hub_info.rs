//! What the hub says about a repository.

use std::collections::BTreeSet;

use hf_hub::api::sync::{ApiError, ApiRepo};
use serde::Deserialize;

use super::error::ModelSourceError;
use super::hub::HubSource;

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
}

impl HubInfo {
    /// Asks the hub. This blocks.
    pub(super) fn ask(repo: &ApiRepo) -> Result<Self, ApiError> {
        let mut answer = repo.info_request().call().map_err(Box::new)?;
        Ok(answer.body_mut().read_json().map_err(Box::new)?)
    }

    /// The names of its files.
    pub(super) fn files(&self) -> BTreeSet<String> {
        let files = self.siblings.iter();
        files.map(|file| file.rfilename.clone()).collect()
    }

    /// Refuses a name that differs from the hub's only in case. The hub takes both for one repository,
    /// which would be stored and served twice here.
    pub(super) fn check_id(&self, source: &HubSource) -> Result<(), ModelSourceError> {
        let asked = &source.repo;
        match &self.id {
            Some(id) if id != asked && id.eq_ignore_ascii_case(asked) => {
                Err(source.refused(format!("the hub calls it `{id}`: use this name")))
            }
            _ => Ok(()),
        }
    }
}
