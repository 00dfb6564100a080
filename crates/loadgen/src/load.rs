//! Sends traffic to a server and records the results.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::HttpClient;
use crate::client_health::{ClientHealth, ClientWatch};
use crate::exchange::exchange;
use crate::live::{Live, Progress};
use crate::meter::MeterReading;
use crate::preflight::Preflight;
use crate::record::Record;
use crate::stop::Stop;
use crate::target::Target;
use crate::traffic::{Job, Traffic};

/// The results of a load.
#[derive(Clone, Debug)]
pub(crate) struct LoadLog {
    /// In the order of their numbers.
    pub records: Vec<Record>,
    /// Readings of Farthing's meter before, during and after the load.
    pub readings: Vec<MeterReading>,
    pub health: ClientHealth,
    pub warm_up_requests: usize,
}

/// A callback for progress.
pub type Observer<'a> = &'a (dyn Fn(&Progress) + Send + Sync);

const OBSERVED_EVERY: Duration = Duration::from_millis(200);

/// Sends loads to a target.
#[derive(Clone, Copy)]
pub(crate) struct Loader<'a> {
    pub client: &'a HttpClient,
    pub target: &'a Target,
    pub preflight: &'a Preflight,
    pub observer: Observer<'a>,
    pub stop: &'a Stop,
}

impl Loader<'_> {
    /// Sends all of the traffic, or as much as fits the duration, unless it is stopped, and waits
    /// for all answers. `name` is shown to the user.
    pub(crate) async fn run(&self, name: &str, traffic: &Traffic) -> LoadLog {
        let began = Instant::now();
        let live = Arc::new(Live::new(began));
        let mut watch = ClientWatch::new();
        let mut readings = Vec::new();
        let records = {
            let observe = async {
                let mut ticks = tokio::time::interval(OBSERVED_EVERY);
                loop {
                    ticks.tick().await;
                    let requests = traffic.total_requests();
                    (self.observer)(&live.progress(name, requests, traffic.duration_seconds));
                }
            };
            let meter = async {
                match self.preflight.meter {
                    Some(_) => {
                        MeterReading::take_often(self.client, self.target, began, &mut readings)
                            .await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                records = self.send_all(traffic, began, &live) => records,
                () = observe => Vec::new(),
                () = meter => Vec::new(),
                () = watch.watch() => Vec::new(),
            }
        };
        if self.preflight.meter.is_some()
            && let Some(mut last) = MeterReading::take(self.client, self.target).await
        {
            last.at = began.elapsed().as_secs_f64();
            readings.push(last);
        }
        let requests = traffic.total_requests();
        (self.observer)(&live.progress(name, requests, traffic.duration_seconds));
        LoadLog {
            health: watch.health(&records, traffic.max_concurrency.is_some()),
            records,
            readings,
            warm_up_requests: traffic.warm_up_requests,
        }
    }

    async fn send_all(&self, traffic: &Traffic, began: Instant, live: &Arc<Live>) -> Vec<Record> {
        let places = traffic
            .max_concurrency
            .map(|places| Arc::new(Semaphore::new(places)));
        let end = traffic
            .duration_seconds
            .map(|seconds| began + Duration::from_secs_f64(seconds));
        let mut running = JoinSet::new();
        for job in traffic.jobs(self.preflight.fit) {
            let due = began + Duration::from_secs_f64(job.due_at);
            if end.is_some_and(|end| due >= end) {
                break;
            }
            // The body is created before it is due, so that this does not delay the request.
            let body = self
                .target
                .body(&job.model, &job.prompt, job.output_tokens, true);
            let turn = async {
                tokio::time::sleep_until(due.into()).await;
                match &places {
                    // The semaphore is never closed, so this does not fail.
                    Some(places) => Arc::clone(places).acquire_owned().await.ok(),
                    None => None,
                }
            };
            let place = tokio::select! {
                biased;
                () = self.stop.requested() => break,
                place = turn => place,
            };
            if end.is_some_and(|end| Instant::now() >= end) {
                break;
            }
            let (client, url) = (self.client.clone(), self.target.endpoint());
            let live = Arc::clone(live);
            running.spawn(async move {
                let sent_at = began.elapsed().as_secs_f64();
                live.sent();
                let outcome = exchange(&client, &url, body, began, &live).await;
                let record = record(job, sent_at, outcome);
                live.ended(record.ttft());
                drop(place);
                record
            });
        }
        let mut records = running.join_all().await;
        records.sort_by_key(|record| record.number);
        records
    }
}

fn record(
    job: Job,
    sent_at: f64,
    outcome: Result<crate::record::Answer, crate::record::Failure>,
) -> Record {
    Record {
        model: job.model,
        number: job.number,
        due_at: job.due_at,
        sent_at,
        prompt_tokens_asked: job.prompt_tokens,
        output_tokens_asked: job.output_tokens,
        outcome,
    }
}
