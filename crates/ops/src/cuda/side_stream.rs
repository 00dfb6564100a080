//! A second stream, for work that runs beside the main stream's.

use std::sync::Arc;

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaStream, sys};

use super::driver_error;

/// A stream for one piece of work at a time. The work starts after the main stream's work so far, and the
/// main stream waits for it later. In a graph the two become branches.
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

    /// Calls `start` with this stream after making the stream wait for the work of `main` so far.
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
