//! The step loop: plan, compute, commit, deliver.

use std::{
    collections::HashMap,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Instant,
};

use farthing_model::{ModelError, ModelRunner};
use farthing_scheduler::{Batch, FinishReason, Scheduler, SequenceId, SequenceOutput};
use tokio::sync::mpsc::{UnboundedSender, error::TryRecvError};
use tracing::{debug, error};

use crate::{
    EngineHandle, EngineLimits, EngineStats, Meter, Tokenizer,
    account::Account,
    command::{Command, NewSequence, SequenceEvent},
    handle::EngineDoor,
};

/// Everything that one thread owns: no lock, no other thread touches it.
pub struct EngineCore {
    scheduler: Scheduler,
    runner: ModelRunner,
    meter: Meter,
    door: EngineDoor,
    callers: HashMap<SequenceId, Caller>,
    totals: EngineStats,
}

/// Who waits for a sequence, and what it has used.
struct Caller {
    index: usize,
    events: UnboundedSender<SequenceEvent>,
    account: Account,
}

impl EngineCore {
    /// Starts the engine thread. It ends when the last handle is dropped and nothing runs.
    ///
    /// # Errors
    /// The operating system refused a thread.
    pub fn spawn(
        scheduler: Scheduler,
        runner: ModelRunner,
        meter: Meter,
        limits: EngineLimits,
        tokenizer: Arc<Tokenizer>,
    ) -> io::Result<(EngineHandle, JoinHandle<()>)> {
        let (handle, door) = EngineHandle::new(limits, tokenizer);
        let core = Self {
            scheduler,
            runner,
            meter,
            door,
            callers: HashMap::new(),
            totals: EngineStats::default(),
        };
        let thread = thread::Builder::new()
            .name("engine".to_owned())
            .spawn(|| core.run())?;
        Ok((handle, thread))
    }

    fn run(mut self) {
        self.publish(0);
        while self.admit() {
            self.step();
        }
    }

    /// One step: plan, compute, commit, deliver.
    fn step(&mut self) {
        let Some(batch) = self.scheduler.schedule() else {
            return;
        };
        let started = Instant::now();
        let sampled = self.runner.execute(&batch);
        self.charge(&batch, started);
        let mut adapters: Vec<_> = batch.rows.iter().filter_map(|row| row.adapter).collect();
        adapters.sort_unstable();
        adapters.dedup();
        match sampled {
            Ok(sampled) => {
                let outputs = self.scheduler.commit(batch, sampled);
                self.deliver(outputs);
            }
            Err(error) => self.fail(batch, &error),
        }
        self.publish(adapters.len());
    }

    /// Takes what callers sent; waits for them where there is nothing to compute. `false` once
    /// all of them are gone.
    fn admit(&mut self) -> bool {
        if self.scheduler.is_idle() {
            match self.door.commands.blocking_recv() {
                Some(command) => self.obey(command),
                None => return false,
            }
        }
        loop {
            match self.door.commands.try_recv() {
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return !self.scheduler.is_idle(),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Start(new) => self.start(new),
            Command::Stop(sequence) => {
                if let Some(caller) = self.remove(sequence) {
                    caller.finish(FinishReason::Stop);
                    self.publish(0);
                }
            }
            Command::Abort(sequence) => {
                if let Some(caller) = self.remove(sequence) {
                    self.totals.aborted_seconds += caller.account.device_seconds;
                    self.publish(0);
                }
            }
        }
    }

    fn start(&mut self, new: NewSequence) {
        let NewSequence {
            sequence,
            index,
            events,
        } = new;
        let id = sequence.id;
        let account = Account::open(sequence.prompt.len());
        match self.scheduler.add(sequence) {
            Ok(()) => {
                self.callers.insert(
                    id,
                    Caller {
                        index,
                        events,
                        account,
                    },
                );
            }
            Err(refusal) => {
                let message = refusal.to_string();
                // A caller that is gone has nothing to hear.
                let _ = events.send(SequenceEvent::Failed { message });
            }
        }
    }

    /// Takes a sequence out before its end.
    fn remove(&mut self, sequence: SequenceId) -> Option<Caller> {
        let caller = self.callers.remove(&sequence)?;
        self.scheduler.abort(sequence);
        self.totals.attributed_seconds += caller.account.device_seconds;
        Some(caller)
    }

    /// Splits the time since `started` over the rows, whether or not the step succeeded.
    fn charge(&mut self, batch: &Batch, started: Instant) {
        let step_seconds = started.elapsed().as_secs_f64();
        self.totals.steps += 1;
        self.totals.step_seconds += step_seconds;
        let shares = self.meter.split(&batch.rows, step_seconds);
        for (row, seconds) in batch.rows.iter().zip(shares) {
            self.totals.prompt_tokens += row.prompt_tokens as u64;
            if let Some(caller) = self.callers.get_mut(&row.sequence) {
                caller.account.charge(seconds, started);
            }
        }
    }

    fn deliver(&mut self, outputs: Vec<SequenceOutput>) {
        let sampled_at = Instant::now();
        for output in outputs {
            let Some(caller) = self.callers.get_mut(&output.sequence) else {
                continue;
            };
            caller.account.cached_tokens = output.cached_tokens;
            caller.account.preemptions = output.preemptions;
            if output.sampled.token.is_some() {
                caller.account.count_token(sampled_at);
                self.totals.generation_tokens += 1;
            }
            caller.tell(SequenceEvent::Progress {
                index: caller.index,
                sampled: output.sampled,
            });
            if let Some(reason) = output.finished
                && let Some(caller) = self.callers.remove(&output.sequence)
            {
                self.totals.attributed_seconds += caller.account.device_seconds;
                caller.finish(reason);
            }
        }
    }

    /// A failed step fails its own sequences; the others live on.
    fn fail(&mut self, batch: Batch, error: &ModelError) {
        error!("a step of {} rows failed: {error}", batch.rows.len());
        for output in self.scheduler.fail(batch) {
            if let Some(caller) = self.callers.remove(&output.sequence) {
                self.totals.attributed_seconds += caller.account.device_seconds;
                self.totals.aborted_seconds += caller.account.device_seconds;
                caller.tell(SequenceEvent::Failed {
                    message: error.to_string(),
                });
            }
        }
    }

    fn publish(&mut self, adapters_in_batch: usize) {
        let now = self.scheduler.stats();
        let open_seconds: f64 = self
            .callers
            .values()
            .map(|c| c.account.device_seconds)
            .sum();
        self.door.stats.send_replace(EngineStats {
            running: now.running,
            waiting: now.waiting,
            total_blocks: now.total_blocks,
            free_blocks: now.free_blocks,
            prefix_queries: now.prefix_queries,
            prefix_hits: now.prefix_hits,
            preemptions: now.preemptions,
            attributed_seconds: self.totals.attributed_seconds + open_seconds,
            adapters_in_batch,
            ..self.totals.clone()
        });
    }
}

impl Caller {
    fn finish(&self, reason: FinishReason) {
        self.tell(SequenceEvent::Finished {
            index: self.index,
            reason,
            usage: self.account.usage(),
        });
    }

    fn tell(&self, event: SequenceEvent) {
        if self.events.send(event).is_err() {
            debug!("a caller left before its event");
        }
    }
}
