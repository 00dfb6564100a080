//! The step loop: plan, compute, commit, deliver.

use std::{
    collections::HashMap,
    io,
    ops::ControlFlow,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Instant,
};

use farthing_model::ModelError;
use farthing_scheduler::{AdapterId, Batch, FinishReason, Scheduler, SequenceId, SequenceOutput};
use tokio::sync::mpsc::{UnboundedSender, error::TryRecvError};
use tracing::{debug, error};

use crate::{
    DeviceBudget, EngineHandle, EngineLimits, EngineStats, Meter, Pause, Receipt, RowWork, Runner,
    Split, Tokenizer,
    account::Account,
    command::{Command, NewSequence},
    handle::EngineDoor,
    mailbox::{Delivery, EventSender, Mailbox},
    meter::StepTaken,
    queue_places::Place,
    sequence_event::SequenceEvent,
};

/// The state of the engine thread. No other thread accesses it.
pub struct EngineCore {
    scheduler: Scheduler,
    runner: Box<dyn Runner>,
    meter: Meter,
    door: EngineDoor,
    callers: HashMap<SequenceId, Caller>,
    totals: EngineStats,
}

/// The caller of a sequence and the account of what the sequence has used.
struct Caller {
    index: usize,
    adapter: Option<AdapterId>,
    events: EventSender,
    receipts: Option<UnboundedSender<Receipt>>,
    budget: Option<Arc<DeviceBudget>>,
    account: Account,
    /// Free when the sequence ends, before its caller hears of it.
    _place: Place,
}

/// A message to a caller that is sent after the step.
enum Outgoing {
    Event(EventSender, SequenceEvent),
    Receipt(UnboundedSender<Receipt>, Receipt),
}

impl EngineCore {
    /// Starts the engine thread. It ends when the last handle is dropped and nothing runs, or when
    /// the device is lost.
    ///
    /// # Errors
    /// The operating system cannot start a thread.
    pub fn spawn(
        mut scheduler: Scheduler,
        runner: impl Runner + 'static,
        meter: Meter,
        limits: EngineLimits,
        tokenizer: Arc<Tokenizer>,
    ) -> io::Result<(EngineHandle, JoinHandle<()>)> {
        scheduler.set_fixed_tokens(meter.model().fixed_tokens());
        let (handle, door) = EngineHandle::new(limits, tokenizer);
        let core = Self {
            scheduler,
            runner: Box::new(runner),
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
        while self.admit() {
            if self.step().is_break() {
                // Waiting callers notice that the channel has closed.
                error!("the engine stops: no further step can be computed");
                return;
            }
        }
    }

    /// Runs one step. Breaks if no further step is possible.
    fn step(&mut self) -> ControlFlow<()> {
        let Some(batch) = self.scheduler.schedule() else {
            return ControlFlow::Continue(());
        };
        let works = self.begin(&batch);
        let sampled = self.runner.execute(&batch);
        self.charge(&batch, &works, sampled.is_ok());
        let mut adapters: Vec<_> = batch.rows.iter().filter_map(|row| row.adapter).collect();
        adapters.sort_unstable();
        adapters.dedup();
        let next = match &sampled {
            Err(ModelError::DeviceLost(_)) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        let mut outgoing = match sampled {
            Ok(sampled) => {
                let outputs = self.scheduler.commit(batch, sampled);
                self.settle(outputs)
            }
            Err(error) => self.fail(batch, &error),
        };
        outgoing.extend(self.end_over_budget());
        // Publish the figures first, so that a caller who reads them finds its own step in them.
        self.publish(adapters.len());
        for overfull in send(outgoing) {
            self.cut_off(&overfull);
        }
        while let Some(slowest) = self.door.backlog.slowest_beyond_the_limit() {
            self.cut_off(&slowest);
        }
        if self.meter.learn() {
            self.scheduler
                .set_fixed_tokens(self.meter.model().fixed_tokens());
        }
        next
    }

    /// Handles the commands of callers, and waits for one if there is nothing to compute. Returns
    /// `false` once all callers are gone.
    fn admit(&mut self) -> bool {
        if self.scheduler.is_idle() {
            self.enter_idle();
            match self.door.commands.blocking_recv() {
                Some(command) => {
                    self.leave_idle();
                    self.handle(command);
                }
                None => return false,
            }
        }
        loop {
            match self.door.commands.try_recv() {
                Ok(command) => self.handle(command),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return !self.scheduler.is_idle(),
            }
        }
    }

    /// Books the time until now as host time. The time from now on is idle.
    fn enter_idle(&mut self) {
        let since = self.meter.pause(Pause::Host);
        self.totals.idle_since = Some(since);
        self.publish(0);
        self.totals.idle_since = None;
    }

    /// Books the idle time and publishes it in one step, so that no reader sees idle time that
    /// belongs to a step.
    fn leave_idle(&mut self) {
        let meter = &mut self.meter;
        self.door.stats.send_modify(|stats| {
            meter.pause(Pause::Idle);
            stats.seconds = meter.seconds();
            stats.idle_since = None;
        });
    }

    /// Lets the runner load or free an adapter. No step runs meanwhile, so the time counts as
    /// adapter load.
    fn load_adapter(&mut self, load: impl FnOnce(&mut dyn Runner)) {
        self.meter.pause(Pause::Host);
        load(&mut *self.runner);
        self.meter.pause(Pause::AdapterLoad);
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Start(new) => self.start(new),
            Command::Stop(sequence) => self.end_early([sequence], FinishReason::Stop),
            Command::Abort(sequence) => self.end_early([sequence], FinishReason::Abort),
            Command::EndWarmUp => self.end_warm_up(),
            Command::Prefetch(adapter) => {
                self.load_adapter(|runner| runner.prefetch_adapter(adapter));
                self.publish(0);
            }
            Command::Retire(adapter) => {
                self.load_adapter(|runner| runner.retire_adapter(adapter));
                self.publish(0);
            }
        }
    }

    /// Resets all counters.
    fn end_warm_up(&mut self) {
        for caller in self.callers.values_mut() {
            caller.account.forget_seconds();
        }
        self.meter.end_warm_up();
        self.totals = EngineStats::default();
        self.publish(0);
    }

    fn start(&mut self, new: NewSequence) {
        let NewSequence {
            sequence,
            adapter,
            index,
            events,
            receipts,
            budget,
            place,
        } = new;
        let id = sequence.id;
        let caller = Caller {
            index,
            adapter: adapter.as_ref().map(|adapter| adapter.id()),
            events,
            receipts,
            budget,
            account: Account::open(sequence.prompt.len()),
            _place: place,
        };
        if caller.is_over_budget() {
            send(caller.over_budget());
            return;
        }
        // Another choice of the request was cut off before this one began.
        if !caller.events.is_read() {
            send(caller.ending(FinishReason::Abort, None));
            return;
        }
        match self.scheduler.add(sequence) {
            Ok(()) => {
                self.callers.insert(id, caller);
                if let Some(adapter) = adapter {
                    self.meter.add_adapter(adapter.id(), adapter.size_bytes());
                    self.load_adapter(|runner| runner.add_adapter(adapter));
                }
            }
            Err(refusal) => {
                let messages = caller.ending(FinishReason::Error, Some(refusal.to_string()));
                send(messages);
            }
        }
    }

    /// Ends those of the sequences that still wait or run.
    fn end_early(&mut self, sequences: impl IntoIterator<Item = SequenceId>, reason: FinishReason) {
        let mut messages = Vec::new();
        for sequence in sequences {
            let caller = self.remove(sequence, reason);
            messages.extend(
                caller
                    .map(|caller| caller.ending(reason, None))
                    .into_iter()
                    .flatten(),
            );
        }
        self.publish(0);
        send(messages);
    }

    /// Removes a sequence before its end.
    fn remove(&mut self, sequence: SequenceId, reason: FinishReason) -> Option<Caller> {
        let caller = self.close(sequence, reason)?;
        self.scheduler.abort(sequence);
        Some(caller)
    }

    /// Closes the account of a sequence that has ended: adds its seconds to the totals and releases
    /// its adapter.
    fn close(&mut self, sequence: SequenceId, reason: FinishReason) -> Option<Caller> {
        let caller = self.callers.remove(&sequence)?;
        if let Some(adapter) = caller.adapter
            && self.runner.release_adapter(adapter)
        {
            self.meter.remove_adapter(adapter);
        }
        let seconds = caller.account.device_seconds;
        self.totals.attributed_seconds += seconds;
        match reason {
            FinishReason::Stop | FinishReason::Length => {}
            FinishReason::Abort => self.meter.count_aborted(seconds),
            FinishReason::Error => self.meter.count_failed(seconds),
        }
        Some(caller)
    }

    /// Ends the planning of a step and returns the work of each row.
    fn begin(&mut self, batch: &Batch) -> Vec<RowWork> {
        let started = self.meter.pause(Pause::Host);
        let mut works = Vec::with_capacity(batch.rows.len());
        for row in &batch.rows {
            let cached_tokens = self.callers.get_mut(&row.sequence).map_or(0, |caller| {
                caller.account.begin(row, started);
                caller.account.cached_tokens
            });
            works.push(self.meter.work(row, cached_tokens));
        }
        works
    }

    /// Splits the seconds of a step among its rows, also if the step failed.
    fn charge(&mut self, batch: &Batch, works: &[RowWork], succeeded: bool) {
        let Split { shares, basis } = self.meter.charge_step(StepTaken {
            rows: works,
            measured_seconds: self.runner.device_seconds(),
            succeeded,
        });
        self.totals.steps += 1;
        let tokens = batch.rows.iter().map(|row| row.tokens.len()).sum();
        self.totals.step_sizes.count(tokens);
        for (row, share) in batch.rows.iter().zip(shares) {
            let Some(caller) = self.callers.get_mut(&row.sequence) else {
                continue;
            };
            caller.account.note_basis(basis);
            if let Some(budget) = &caller.budget {
                budget.add(-share.total());
            }
            if succeeded {
                self.totals.prompt_tokens += row.prompt_tokens as u64;
                self.totals.tokens += caller.account.charge(row, share);
                self.totals.token_seconds += share;
            } else {
                caller.account.charge_failure(share);
                self.totals.failed_step_seconds += share.total();
            }
        }
    }

    /// Updates the accounts and returns the messages to the callers.
    fn settle(&mut self, outputs: Vec<SequenceOutput>) -> Vec<Outgoing> {
        let sampled_at = Instant::now();
        let mut outgoing = Vec::with_capacity(outputs.len());
        for output in outputs {
            let Some(caller) = self.callers.get_mut(&output.sequence) else {
                continue;
            };
            caller.account.preemptions = output.preemptions;
            if output.sampled.token.is_some() {
                caller.account.count_token(sampled_at);
                self.totals.generation_tokens += 1;
            }
            let error = output.sampled.error.clone();
            if error.is_none() {
                outgoing.push(caller.event(SequenceEvent::Progress {
                    index: caller.index,
                    sampled: output.sampled,
                }));
            }
            let Some(reason) = output.finished else {
                continue;
            };
            if let Some(caller) = self.close(output.sequence, reason) {
                outgoing.extend(caller.ending(reason, error));
            }
        }
        outgoing
    }

    /// A failed step fails the sequences in it and no others.
    fn fail(&mut self, batch: Batch, error: &ModelError) -> Vec<Outgoing> {
        error!("a step of {} rows failed: {error}", batch.rows.len());
        let mut outgoing = Vec::new();
        for output in self.scheduler.fail(batch) {
            if let Some(caller) = self.close(output.sequence, FinishReason::Error) {
                outgoing.extend(caller.ending(FinishReason::Error, Some(error.to_string())));
            }
        }
        outgoing
    }

    /// Ends the sequences whose budget the step has used up, also those that wait.
    fn end_over_budget(&mut self) -> Vec<Outgoing> {
        let over = self.callers.iter().filter(|(_, it)| it.is_over_budget());
        let over: Vec<_> = over.map(|(&sequence, _)| sequence).collect();
        let mut outgoing = Vec::new();
        for sequence in over {
            if let Some(caller) = self.remove(sequence, FinishReason::Abort) {
                outgoing.extend(caller.over_budget());
            }
        }
        outgoing
    }

    /// Cancels a request whose caller reads too slowly.
    fn cut_off(&mut self, request: &Mailbox) {
        if request.cut_off() {
            self.totals.cut_off_requests += 1;
            self.end_early(request.sequences(), FinishReason::Abort);
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
            deferred: now.deferred,
            total_blocks: now.total_blocks,
            free_blocks: now.free_blocks,
            prefix_queries: now.prefix_queries,
            prefix_hits: now.prefix_hits,
            preemptions: now.preemptions,
            seconds: self.meter.seconds(),
            expected_seconds: self.meter.expected_seconds(),
            step_model: *self.meter.model(),
            seconds_by_tokens: self.meter.seconds_by_tokens(),
            refits: self.meter.refits(),
            attributed_seconds: self.totals.attributed_seconds + open_seconds,
            adapters_in_batch,
            running_adapters: self.adapters_of(|account| account.has_begun()),
            waiting_adapters: self.adapters_of(|account| !account.has_begun()),
            adapter_pool: self.runner.adapter_stats(),
            ..self.totals.clone()
        });
    }

    /// The adapters of all sequences whose account matches, without duplicates.
    fn adapters_of(&self, is_meant: impl Fn(&Account) -> bool) -> Arc<[AdapterId]> {
        let meant = self.callers.values().filter(|it| is_meant(&it.account));
        let mut adapters: Vec<_> = meant.filter_map(|it| it.adapter).collect();
        adapters.sort_unstable();
        adapters.dedup();
        adapters.into()
    }
}

impl Caller {
    fn finished(&self, reason: FinishReason) -> Outgoing {
        self.event(SequenceEvent::Finished {
            index: self.index,
            reason,
            usage: self.account.usage(),
        })
    }

    fn failed(&self, message: String) -> Outgoing {
        self.event(SequenceEvent::Failed { message })
    }

    fn event(&self, event: SequenceEvent) -> Outgoing {
        Outgoing::Event(self.events.clone(), event)
    }

    fn is_over_budget(&self) -> bool {
        self.budget.as_ref().is_some_and(|it| it.is_used_up())
    }

    /// The closed account, if the caller asked for it.
    fn receipt(&self, reason: FinishReason) -> Option<Outgoing> {
        let receipt = Receipt {
            index: self.index,
            reason,
            usage: self.account.usage(),
        };
        let to = self.receipts.clone()?;
        Some(Outgoing::Receipt(to, receipt))
    }

    /// The messages about its end. Its place is free before they are sent.
    fn ending(self, reason: FinishReason, error: Option<String>) -> Vec<Outgoing> {
        let event = match (error, reason) {
            (Some(error), _) => Some(self.failed(error)),
            (None, FinishReason::Abort) => None,
            (None, _) => Some(self.finished(reason)),
        };
        event.into_iter().chain(self.receipt(reason)).collect()
    }

    /// The messages about its end if its budget is used up.
    fn over_budget(self) -> Vec<Outgoing> {
        let event = self.event(SequenceEvent::OverBudget);
        let receipt = self.receipt(FinishReason::Abort);
        [event].into_iter().chain(receipt).collect()
    }
}

/// Sends messages, and returns the requests of which too much is unread.
fn send(messages: Vec<Outgoing>) -> Vec<Arc<Mailbox>> {
    messages.into_iter().filter_map(Outgoing::send).collect()
}

impl Outgoing {
    /// Returns the request if too much of it is unread.
    fn send(self) -> Option<Arc<Mailbox>> {
        let delivery = match self {
            Self::Event(to, event) => to.send(event),
            Self::Receipt(to, receipt) => match to.send(receipt) {
                Ok(()) => Delivery::Sent,
                Err(_) => Delivery::NoReader,
            },
        };
        match delivery {
            Delivery::Sent => None,
            Delivery::Overfull(mailbox) => Some(mailbox),
            Delivery::NoReader => {
                debug!("a caller left before its event");
                None
            }
        }
    }
}
