//! Operands that are used in turn, so that none is in a cache when it is read again.

use std::cell::Cell;

use farthing_model::{DeviceKind, ModelError};

/// Several operands of the same kind.
pub(super) struct Rotation<T> {
    items: Vec<T>,
    next: Cell<usize>,
}

impl<T> Rotation<T> {
    /// Minimum number of bytes between two uses of an operand: several times the last-level cache
    /// (50 MB on an H100).
    fn bytes(device: DeviceKind) -> usize {
        match device {
            DeviceKind::Cpu => 128 << 20,
            DeviceKind::Cuda(_) => 256 << 20,
        }
    }

    /// Number of operands needed, for `item_bytes` each.
    pub(super) fn copies(device: DeviceKind, item_bytes: usize) -> usize {
        /// Tiny operands would be too many.
        const MOST: usize = 128;
        (Self::bytes(device).div_ceil(item_bytes.max(1)) + 1).min(MOST)
    }

    /// Makes as many operands as needed. `make` receives the index of each.
    pub(super) fn new(
        device: DeviceKind,
        item_bytes: usize,
        make: impl FnMut(usize) -> Result<T, ModelError>,
    ) -> Result<Self, ModelError> {
        let items = (0..Self::copies(device, item_bytes)).map(make);
        Ok(Self::of(items.collect::<Result<_, _>>()?))
    }

    /// These operands in turn.
    pub(super) fn of(items: Vec<T>) -> Self {
        Self {
            items,
            next: Cell::new(0),
        }
    }

    /// The next operand.
    pub(super) fn next(&self) -> &T {
        let index = self.next.get();
        self.next.set((index + 1) % self.items.len());
        &self.items[index]
    }
}
