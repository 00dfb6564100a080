//! Opens files that a user names. A pipe would block for ever, and a device never ends.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Opens a regular file for reading.
///
/// # Errors
/// It is a directory, a pipe, a device or a socket, or cannot be opened.
pub fn open_regular_file(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        let kind = io::ErrorKind::InvalidInput;
        return Err(io::Error::new(kind, "it is not a regular file"));
    }
    File::open(path)
}

/// Reads a regular file of at most `max_bytes` bytes.
///
/// # Errors
/// Those of [`open_regular_file`]; the file is larger, or cannot be read.
pub fn read_regular_file(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let file = open_regular_file(path)?;
    let size_bytes = file.metadata()?.len();
    if size_bytes > max_bytes {
        let reason = format!("it has {size_bytes} bytes, more than the limit of {max_bytes}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    let mut bytes = Vec::with_capacity(size_bytes as usize);
    file.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_regular_files_of_a_limited_size_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read_regular_file(&path, 5).unwrap(), b"12345");
        let kind = |path: &Path, limit| read_regular_file(path, limit).unwrap_err().kind();
        assert_eq!(kind(&path, 4), io::ErrorKind::FileTooLarge);
        assert_eq!(kind(directory.path(), 5), io::ErrorKind::InvalidInput);
        assert_eq!(kind(Path::new("/dev/zero"), 5), io::ErrorKind::InvalidInput);
        assert_eq!(
            kind(&directory.path().join("none"), 5),
            io::ErrorKind::NotFound
        );
        // A sparse file is not read.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(kind(&path, 1 << 20), io::ErrorKind::FileTooLarge);
    }
}
