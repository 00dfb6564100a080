//! A weight file that is read at positions.

use std::{
    fs::File,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::{ModelError, open_regular_file};

/// An open file with its path and size.
#[derive(Debug)]
pub(super) struct WeightFile {
    file: File,
    path: PathBuf,
    size_bytes: u64,
}

impl WeightFile {
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let failed = |source| ModelError::Read {
            path: path.to_owned(),
            source,
        };
        let file = open_regular_file(path).map_err(failed)?;
        let size_bytes = file.metadata().map_err(failed)?.len();
        Ok(Self {
            file,
            path: path.to_owned(),
            size_bytes,
        })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Fills `bytes` from `offset` on.
    pub(super) fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), ModelError> {
        self.file
            .read_exact_at(bytes, offset)
            .map_err(|source| ModelError::Read {
                path: self.path.clone(),
                source,
            })
    }

    /// Passes a range of bytes to `consume`, in pieces of at most `piece_bytes`. The pieces share
    /// one buffer.
    pub(super) fn read_pieces(
        &self,
        range: Range<u64>,
        piece_bytes: usize,
        mut consume: impl FnMut(&[u8]) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let length = |start: u64| (range.end - start).min(piece_bytes as u64) as usize;
        let mut buffer = vec![0; length(range.start)];
        let mut start = range.start;
        while start < range.end {
            let piece = &mut buffer[..length(start)];
            self.read_at(piece, start)?;
            consume(piece)?;
            start += piece.len() as u64;
        }
        Ok(())
    }

    pub(super) fn malformed(&self, reason: impl Into<String>) -> ModelError {
        ModelError::Malformed {
            path: self.path.clone(),
            reason: reason.into(),
        }
    }
}
