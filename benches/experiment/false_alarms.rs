//! How often something is found where nothing is.

use farthing_experiment::{
    Arm, Assignment, Estimate, Evidence, ExperimentError, Guardrail, GuardrailAction, Inference,
    Purpose, SampleRatio, State, VerdictRule,
};
use rand::Rng;
use rand::rngs::StdRng;

use crate::population::{Metrics, Population, User};
use crate::simulation::{Finding, Simulation};

const LOOKS: u32 = 20;
const CONFIDENCE: f64 = 0.95;
const SAME: Population = Population {
    cost: 0.002,
    accepted: 0.7,
};
/// Users of each arm that one look adds.
const USERS: u32 = 15;
/// Requests of each arm that one look adds.
const REQUESTS: u64 = 100;

const fn always(units_per_arm: u64) -> Inference {
    Inference::AlwaysValid {
        tuned_to: 2 * units_per_arm,
    }
}

const FIXED: Inference = Inference::FixedHorizon { units_per_arm: 1 };

/// Whether an interval excludes zero. Too few units exclude nothing.
fn is_alarm(
    difference: Result<Estimate, ExperimentError>,
    inference: Inference,
) -> anyhow::Result<bool> {
    let interval = difference.and_then(|difference| difference.interval(inference, CONFIDENCE));
    match interval {
        Ok(interval) => Ok(interval.low > 0.0 || interval.high < 0.0),
        Err(error) if error.is_for_now() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn shares<K: Ord>(arms: [&Arm<K>; 2]) -> Result<Estimate, ExperimentError> {
    Estimate::difference(&arms[0].share()?, &arms[1].share()?)
}

fn costs(arms: &[Metrics; 2]) -> Result<Estimate, ExperimentError> {
    Estimate::relative_difference(&arms[0].cost.ratio()?, &arms[1].cost.ratio()?)
}

pub(crate) fn of_verdicts(simulation: Simulation) -> anyhow::Result<Vec<Finding>> {
    let mut findings = of_requests(simulation)?;
    findings.extend(of_users(simulation)?);
    findings.extend(of_rules(simulation)?);
    Ok(findings)
}

/// The unit is the request.
fn of_requests(simulation: Simulation) -> anyhow::Result<Vec<Finding>> {
    let inferences = [always(REQUESTS * u64::from(LOOKS)), FIXED];
    let alarms = simulation.run(4000, |random| {
        let mut arms = [Arm::new(), Arm::new()];
        let mut found = [false; 2];
        let mut last = false;
        for look in 0..u64::from(LOOKS) {
            for arm in &mut arms {
                for request in 0..REQUESTS {
                    let accepted = f64::from(u8::from(random.random_bool(0.7)));
                    arm.add(look * REQUESTS + request, accepted, 1.0)?;
                }
            }
            for (found, inference) in found.iter_mut().zip(inferences) {
                last = is_alarm(shares([&arms[0], &arms[1]]), inference)?;
                *found |= last;
            }
        }
        Ok([found[0], found[1], last])
    })?;
    let of = |which: usize| alarms.iter().map(|alarm| alarm[which]).collect::<Vec<_>>();
    Ok(vec![
        Finding::share("20 looks, unit request, always valid", &of(0)).within(0.0..=5.0),
        Finding::share("20 looks, unit request, fixed horizon misused", &of(1)),
        Finding::share("1 look, unit request, fixed horizon", &of(2)).within(3.0..=6.0),
    ])
}

/// What one experiment with users finds.
#[derive(Clone, Copy, Default)]
struct UserAlarms {
    quality: bool,
    cost: bool,
    last_quality: bool,
    last_cost: bool,
    last_by_request: bool,
}

/// The unit is the user, and users come by and by, or all have requests from the beginning.
fn of_users(simulation: Simulation) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (all_at_once, name) in [
        (false, "users come by and by"),
        (true, "all users from the start"),
    ] {
        let alarms = simulation.run(12_000, |random| user_experiment(all_at_once, random))?;
        let mut add = |what: &str, of: fn(&UserAlarms) -> bool, limit| {
            let outcomes: Vec<_> = alarms.iter().map(of).collect();
            let finding = Finding::share(format!("{what}, {name}"), &outcomes);
            findings.push(match limit {
                Some(limit) => finding.within(limit),
                None => finding,
            });
        };
        add(
            "20 looks, share, always valid",
            |it| it.quality,
            Some(0.0..=5.0),
        );
        add(
            "20 looks, cost per accepted, always valid",
            |it| it.cost,
            Some(0.0..=5.0),
        );
        add(
            "1 look, share, by user",
            |it| it.last_quality,
            Some(3.0..=6.0),
        );
        add(
            "1 look, cost per accepted, by user",
            |it| it.last_cost,
            Some(3.0..=6.0),
        );
        add("1 look, share, by request", |it| it.last_by_request, None);
    }
    Ok(findings)
}

fn user_experiment(all_at_once: bool, random: &mut StdRng) -> anyhow::Result<UserAlarms> {
    let users_per_arm = USERS * LOOKS;
    let inference = always(u64::from(users_per_arm));
    let mut arms = [Metrics::default(), Metrics::default()];
    let mut users: [Vec<User>; 2] = [Vec::new(), Vec::new()];
    let mut alarms = UserAlarms::default();
    for look in 0..LOOKS {
        let wanted = if all_at_once {
            users_per_arm
        } else {
            USERS * (look + 1)
        };
        for (metrics, users) in arms.iter_mut().zip(&mut users) {
            while users.len() < wanted as usize {
                users.push(SAME.user(random)?);
            }
            // Of all users there are, some send a request before the next look: the first ones of an
            // experiment have the most.
            for (id, user) in (0..).zip(users.iter()) {
                for _ in 0..random.random_range(0..3) {
                    metrics.add_request(id, user, random)?;
                }
            }
        }
        let quality = shares([&arms[0].quality, &arms[1].quality]);
        alarms.quality |= is_alarm(quality, inference)?;
        alarms.cost |= is_alarm(costs(&arms), inference)?;
    }
    alarms.last_quality = is_alarm(shares([&arms[0].quality, &arms[1].quality]), FIXED)?;
    alarms.last_cost = is_alarm(costs(&arms), FIXED)?;
    alarms.last_by_request = is_alarm(shares([&arms[0].by_request, &arms[1].by_request]), FIXED)?;
    Ok(alarms)
}

/// Whole verdicts and guardrails, where the candidate is just at the limit.
fn of_rules(simulation: Simulation) -> anyhow::Result<Vec<Finding>> {
    let margin = 0.05;
    let rule = VerdictRule {
        inference: always(u64::from(USERS * LOOKS)),
        confidence: CONFIDENCE,
        quality_margin: margin,
        purpose: Purpose::Compare,
    };
    let guardrail = Guardrail {
        name: "Refused answers".to_owned(),
        limit: margin,
        confidence: 0.99,
        tuned_to: u64::from(USERS * LOOKS),
    };
    let candidate = Population {
        cost: SAME.cost / 2.0,
        accepted: SAME.accepted - margin,
    };
    let outcomes = simulation.run(2000, |random| {
        let mut arms = [Metrics::default(), Metrics::default()];
        let (mut replaced, mut rolled_back) = (false, false);
        for look in 0..LOOKS {
            for (metrics, population) in arms.iter_mut().zip([SAME, candidate]) {
                for id in look * USERS..(look + 1) * USERS {
                    let user = population.user(random)?;
                    for _ in 0..random.random_range(1..20) {
                        metrics.add_request(id, &user, random)?;
                    }
                }
            }
            let units = arms.each_ref().map(|arm| arm.quality.units());
            let quality = shares([&arms[0].quality, &arms[1].quality]);
            let evidence = Evidence {
                assignment: Assignment::Split {
                    units,
                    weights: [1.0, 1.0],
                },
                quality,
                cost: costs(&arms),
            };
            replaced |= rule.judge(&evidence)?.state == State::NonInferiorAndCheaper;
            let harm = quality.map(|quality| Estimate {
                value: -quality.value,
                ..quality
            });
            rolled_back |= guardrail.watch(harm)?.action == GuardrailAction::RollBack;
        }
        Ok([replaced, rolled_back])
    })?;
    let of = |which: usize| outcomes.iter().map(|it| it[which]).collect::<Vec<_>>();
    Ok(vec![
        Finding::share("20 looks, non-inferior though worse by the margin", &of(0))
            .within(0.0..=2.5),
        Finding::share("20 looks, 99 % guardrail though at its limit", &of(1)).within(0.0..=1.0),
    ])
}

pub(crate) fn of_sample_ratios(simulation: Simulation) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (units, share, limit) in [
        (5000_u64, 0.5, Some(0.0..=0.2)),
        (5000, 0.55, Some(99.0..=100.0)),
        (1000, 0.55, None),
    ] {
        let fired = simulation.run(20_000, |random| {
            let first = (0..units).filter(|_| random.random_bool(share)).count() as u64;
            let ratio = SampleRatio::check(&[first, units - first], &[0.5, 0.5])?;
            Ok(!ratio.passes())
        })?;
        let what = format!(
            "the check fires at {:.0} % in one arm of {units} units",
            share * 100.0
        );
        let finding = Finding::share(what, &fired);
        findings.push(match limit {
            Some(limit) => finding.within(limit),
            None => finding,
        });
    }
    Ok(findings)
}
