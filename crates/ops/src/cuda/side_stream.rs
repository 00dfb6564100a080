//! A second stream, for work that runs concurrently with the main stream.

use std::sync::Arc;

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaStream, sys};

use super::driver_error;

/// A stream for one piece of work at a time. The work starts after the main stream's work so far. The
/// main stream waits for it later. In a captured graph the two streams become branches.
pub(crate) struct SideStream {
    stream: Arc<CudaStream>,
    begun: CudaEvent,
    ended: CudaEvent,
}

impl SideStream {
    pub(super) fn new(main: &Arc<CudaStream>) -> Result<Self> {
        let event = || {
            main.context()
                .new_event(Some(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING))
                .map_err(driver_error)
        };
        Ok(Self {
            stream: main.context().new_stream().map_err(driver_error)?,
            begun: event()?,
            ended: event()?,
        })
    }

    /// Makes this stream wait for the work of `main` so far, then calls `start` with this stream.
    pub(super) fn begin(
        &self,
        main: &CudaStream,
        start: impl FnOnce(&CudaStream) -> Result<()>,
    ) -> Result<()> {
        self.begun.record(main).map_err(driver_error)?;
        self.stream.wait(&self.begun).map_err(driver_error)?;
        start(&self.stream)?;
        self.ended.record(&self.stream).map_err(driver_error)
    }

    /// Makes `main` wait for the work that was started last.
    pub(super) fn end(&self, main: &CudaStream) -> Result<()> {
        main.wait(&self.ended).map_err(driver_error)
    }
}
