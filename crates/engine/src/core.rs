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

/// An event on its way to a caller.
struct Letter {
    to: UnboundedSender<SequenceEvent>,
    event: SequenceEvent,
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
        let letters = match sampled {
            Ok(sampled) => {
                let outputs = self.scheduler.commit(batch, sampled);
                self.settle(outputs)
            }
            Err(error) => self.fail(batch, &error),
        };
        // The figures first: a caller who looks at them finds its own step in them.
        self.publish(adapters.len());
        letters.into_iter().for_each(Letter::send);
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
                    self.publish(0);
                    caller.finished(FinishReason::Stop).send();
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
        let caller = self.close(sequence)?;
        self.scheduler.abort(sequence);
        Some(caller)
    }

    /// Closes the account of a sequence that has ended: its seconds are the totals' from now on.
    fn close(&mut self, sequence: SequenceId) -> Option<Caller> {
        let caller = self.callers.remove(&sequence)?;
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

    /// Brings the accounts up to date, and says what the callers are to be told.
    fn settle(&mut self, outputs: Vec<SequenceOutput>) -> Vec<Letter> {
        let sampled_at = Instant::now();
        let mut letters = Vec::with_capacity(outputs.len());
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
            letters.push(caller.letter(SequenceEvent::Progress {
                index: caller.index,
                sampled: output.sampled,
            }));
            if let Some(reason) = output.finished
                && let Some(caller) = self.close(output.sequence)
            {
                letters.push(caller.finished(reason));
            }
        }
        letters
    }

    /// A failed step fails its own sequences; the others live on.
    fn fail(&mut self, batch: Batch, error: &ModelError) -> Vec<Letter> {
        error!("a step of {} rows failed: {error}", batch.rows.len());
        let mut letters = Vec::new();
        for output in self.scheduler.fail(batch) {
            if let Some(caller) = self.close(output.sequence) {
                self.totals.aborted_seconds += caller.account.device_seconds;
                letters.push(caller.letter(SequenceEvent::Failed {
                    message: error.to_string(),
                }));
            }
        }
        letters
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
    fn finished(&self, reason: FinishReason) -> Letter {
        self.letter(SequenceEvent::Finished {
            index: self.index,
            reason,
            usage: self.account.usage(),
        })
    }

    fn letter(&self, event: SequenceEvent) -> Letter {
        Letter {
            to: self.events.clone(),
            event,
        }
    }
}

impl Letter {
    fn send(self) {
        if self.to.send(self.event).is_err() {
            debug!("a caller left before its event");
        }
    }
}
