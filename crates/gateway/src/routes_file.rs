//! The file that names vendors and routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use farthing_vendors::VendorConfig;
use serde::Deserialize;

use crate::check::CheckConfig;
use crate::rule::is_known_language;
use crate::{
    Arm, Check, Design, ExperimentSpec, Fallback, FallbackReason, Judge, Ramp, Route, RoutesError,
    Rule, Shadow, Target, UnitKind,
};

/// What a routes file says, checked as far as that is possible without the server's models.
#[derive(Debug, Default)]
pub struct RoutesFile {
    /// The vendors, by name.
    pub vendors: BTreeMap<String, VendorEntry>,
    /// The routes, by the model's name in requests.
    pub routes: BTreeMap<String, Arc<Route>>,
    /// The experiments, by id. Each belongs to a route, and a route has one at most.
    pub experiments: BTreeMap<String, Arc<ExperimentSpec>>,
}

/// What the file says of a vendor.
#[derive(Clone, Debug)]
pub struct VendorEntry {
    /// Read.
    pub config: VendorConfig,
    /// As it is: equal tables are equal vendors.
    pub table: toml::Table,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    vendors: BTreeMap<String, VendorConfig>,
    routes: BTreeMap<String, RouteConfig>,
    experiments: Vec<ExperimentSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tables {
    vendors: BTreeMap<String, toml::Table>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteConfig {
    arms: toml::map::Map<String, toml::Value>,
    unit: Option<UnitKind>,
    salt: Option<String>,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    fallback: Vec<String>,
    fallback_after: Option<Vec<FallbackReason>>,
    shadow: Option<Shadow>,
    judge: Option<Judge>,
    ramp: Option<Ramp>,
    #[serde(default)]
    checks: BTreeMap<String, CheckConfig>,
    own_first_content_seconds: Option<f64>,
    #[serde(default)]
    clients_may_choose: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArmConfig {
    model: String,
    vendor: Option<String>,
    weight: Option<f64>,
}

/// Limit on names: they are written to headers, metrics and the ledger.
const MAX_NAME_CHARS: usize = 100;

impl RoutesFile {
    /// Reads TOML.
    ///
    /// # Errors
    /// It cannot be used. Nothing of it is used then.
    pub fn parse(text: &str) -> Result<Self, RoutesError> {
        let file: File =
            toml::from_str(text).map_err(|error| RoutesError::Syntax(error.to_string()))?;
        for name in file.vendors.keys() {
            check_name(&format!("vendors.{name}"), name)?;
        }
        let mut routes = BTreeMap::new();
        for (name, config) in file.routes {
            let route = RouteReader {
                key: format!("routes.{name}"),
                vendors: &file.vendors,
                experiment: file.experiments.iter().find(|spec| spec.route == name),
            }
            .read(&name, config)?;
            routes.insert(name, Arc::new(route));
        }
        let mut tables: Tables =
            toml::from_str(text).map_err(|error| RoutesError::Syntax(error.to_string()))?;
        let experiments = experiments(file.experiments, &routes)?;
        let vendors = file.vendors.into_iter().map(|(name, config)| {
            let table = tables.vendors.remove(&name).unwrap_or_default();
            (name, VendorEntry { config, table })
        });
        Ok(Self {
            vendors: vendors.collect(),
            routes,
            experiments,
        })
    }
}

/// Reads one route.
struct RouteReader<'a> {
    /// Its path in the file.
    key: String,
    vendors: &'a BTreeMap<String, VendorConfig>,
    experiment: Option<&'a ExperimentSpec>,
}

impl RouteReader<'_> {
    fn read(&self, name: &str, config: RouteConfig) -> Result<Route, RoutesError> {
        check_name(&self.key, name)?;
        let arms = config
            .arms
            .into_iter()
            .map(|(name, arm)| self.arm(&name, arm));
        let arms = arms.collect::<Result<Vec<_>, _>>()?;
        if arms.is_empty() {
            return self.wrong("arms", "a route needs at least one arm");
        }
        let checks = config.checks.into_iter().map(|(name, check)| {
            let key = format!("{}.checks.{name}", self.key);
            check_name(&key, &name)?;
            Check::new(&name, &key, check)
        });
        let route = Route {
            name: name.to_owned(),
            unit: self
                .planned("unit", config.unit, |spec| spec.unit)?
                .unwrap_or_default(),
            salt: self
                .planned("salt", config.salt, |spec| spec.salt.clone())?
                .unwrap_or_else(|| name.to_owned()),
            experiment: self.experiment.map_or(name, |spec| &spec.id).to_owned(),
            rules: config.rules,
            fallback: Fallback {
                arms: config.fallback,
                after: config
                    .fallback_after
                    .unwrap_or(FallbackReason::ALL.to_vec()),
            },
            shadow: config.shadow,
            judge: config.judge,
            ramp: config.ramp,
            checks: Arc::new(checks.collect::<Result<_, _>>()?),
            own_first_content_seconds: config.own_first_content_seconds,
            clients_may_choose: config.clients_may_choose,
            arms,
        };
        self.check(&route)?;
        Ok(route)
    }

    /// What the route's experiment says, or the route itself.
    fn planned<T: PartialEq>(
        &self,
        key: &str,
        own: Option<T>,
        of: impl Fn(&ExperimentSpec) -> T,
    ) -> Result<Option<T>, RoutesError> {
        match (own, self.experiment) {
            (own, None) => Ok(own),
            (Some(own), Some(spec)) if own != of(spec) => {
                let reason = format!("the experiment {} has another: leave this out", spec.id);
                self.wrong(key, reason)
            }
            (_, Some(spec)) => Ok(Some(of(spec))),
        }
    }

    fn arm(&self, name: &str, value: toml::Value) -> Result<Arm, RoutesError> {
        let key = format!("{}.arms.{name}", self.key);
        check_name(&key, name)?;
        let config: ArmConfig = value
            .try_into()
            .map_err(|error: toml::de::Error| RoutesError::value(&key, error.message()))?;
        let weight = config.weight.unwrap_or(0.0);
        if !(weight.is_finite() && weight >= 0.0) {
            let reason = format!("{weight} is no weight: give a number of at least 0");
            return Err(RoutesError::value(format!("{key}.weight"), reason));
        }
        let model = config.model;
        let target = match config.vendor {
            None => Target::Own { model },
            Some(vendor) if self.vendors.contains_key(&vendor) => Target::Vendor { vendor, model },
            Some(vendor) => {
                let reason = format!("there is no [vendors.{vendor}] in this file");
                return Err(RoutesError::value(format!("{key}.vendor"), reason));
            }
        };
        Ok(Arm {
            name: name.to_owned(),
            target,
            weight,
        })
    }

    fn check(&self, route: &Route) -> Result<(), RoutesError> {
        let known = |key: &str, name: &str| match route.arm(name) {
            Some(_) => Ok(()),
            None => {
                let names: Vec<_> = route.arms.iter().map(|arm| &*arm.name).collect();
                let reason = format!(
                    "there is no arm {name:?}: the arms are {}",
                    names.join(", ")
                );
                self.wrong(key, reason)
            }
        };
        if route.arms.len() > 1 && route.arms.iter().all(|arm| arm.weight == 0.0) {
            return self.wrong("arms", "give at least one of them a weight above 0");
        }
        for name in &route.fallback.arms {
            known("fallback", name)?;
        }
        for (index, rule) in route.rules.iter().enumerate() {
            known(&format!("rules[{index}].arm"), &rule.arm)?;
            if let Some(other) = &rule.when.cheaper_than {
                known(&format!("rules[{index}].when.cheaper_than"), other)?;
            }
            if rule.when.is_empty() {
                let reason = "a rule needs a condition: without one, give the arm all the weight";
                return self.wrong(&format!("rules[{index}].when"), reason);
            }
            for code in rule.when.languages.iter().flatten() {
                if !is_known_language(code) {
                    let key = format!("rules[{index}].when.languages");
                    return self.wrong(&key, format!("{code:?} is no language that can be told: use ISO 639-3, such as \"deu\""));
                }
            }
        }
        if let Some(shadow) = &route.shadow {
            known("shadow.arm", &shadow.arm)?;
            if !(shadow.share > 0.0 && shadow.share <= 1.0) {
                return self.wrong("shadow.share", "give a share above 0 and at most 1");
            }
            if shadow.max_concurrent == 0 {
                return self.wrong(
                    "shadow.max_concurrent",
                    "0 would shadow nothing: leave out the shadow",
                );
            }
        }
        if let Some(judge) = &route.judge {
            self.check_judge(route, judge)?;
        }
        if let Some(ramp) = &route.ramp {
            known("ramp.arm", &ramp.arm)?;
            self.check_ramp(route, ramp)?;
        }
        match route.own_first_content_seconds {
            Some(seconds) if !(seconds.is_finite() && seconds > 0.0) => {
                self.wrong("own_first_content_seconds", "give a number above 0")
            }
            _ => Ok(()),
        }
    }

    fn check_judge(&self, route: &Route, judge: &Judge) -> Result<(), RoutesError> {
        if route.shadow.is_none() {
            return self.wrong(
                "judge",
                "a judge compares a shadow's answers: the route has none",
            );
        }
        let vendor = &judge.vendor;
        if !self.vendors.contains_key(vendor) {
            let reason = format!("there is no [vendors.{vendor}] in this file");
            return self.wrong("judge.vendor", reason);
        }
        let is_of_arm =
            |arm: &Arm| matches!(&arm.target, Target::Vendor { vendor: of, .. } if of == vendor);
        if let Some(arm) = route.arms.iter().find(|arm| is_of_arm(arm)) {
            let reason = format!(
                "the arm {} is of this vendor, and models prefer their own family: take another",
                arm.name
            );
            return self.wrong("judge.vendor", reason);
        }
        Ok(())
    }

    fn check_ramp(&self, route: &Route, ramp: &Ramp) -> Result<(), RoutesError> {
        let others = route.arms.iter().filter(|arm| arm.name != ramp.arm);
        if others.map(|arm| arm.weight).sum::<f64>() <= 0.0 {
            return self.wrong(
                "ramp",
                "another arm needs a weight above 0: the rest goes there",
            );
        }
        if route.arm(&ramp.arm).is_some_and(|arm| arm.weight > 0.0) {
            let key = format!("arms.{}.weight", ramp.arm);
            return self.wrong(&key, "the ramp sets this arm's share: leave its weight out");
        }
        if !(ramp.step_hours.is_finite() && ramp.step_hours > 0.0) {
            return self.wrong("ramp.step_hours", "give a number above 0");
        }
        let ascends = ramp.shares.is_sorted_by(|low, high| low < high);
        let in_range = ramp
            .shares
            .iter()
            .all(|share| *share > 0.0 && *share <= 1.0);
        if ramp.shares.is_empty() || !ascends || !in_range {
            return self.wrong("ramp.shares", "give ascending shares above 0 and at most 1");
        }
        Ok(())
    }

    fn wrong<T>(&self, key: &str, reason: impl Into<String>) -> Result<T, RoutesError> {
        Err(RoutesError::value(format!("{}.{key}", self.key), reason))
    }
}

/// Checks that each experiment fits its route.
fn experiments(
    specs: Vec<ExperimentSpec>,
    routes: &BTreeMap<String, Arc<Route>>,
) -> Result<BTreeMap<String, Arc<ExperimentSpec>>, RoutesError> {
    let mut experiments = BTreeMap::new();
    for (index, spec) in specs.into_iter().enumerate() {
        let wrong = |key: &str, reason: String| {
            let key = format!("experiments[{index}].{key}");
            Err(RoutesError::value(key, reason))
        };
        check_name(&format!("experiments[{index}].id"), &spec.id)?;
        spec.check().map_err(|error| {
            RoutesError::value(format!("experiments[{index}]"), error.to_string())
        })?;
        let Some(route) = routes.get(&spec.route) else {
            return wrong(
                "route",
                format!("there is no [routes.{}] in this file", spec.route),
            );
        };
        if route.experiment != spec.id {
            return wrong(
                "route",
                format!("the route has the experiment {} already", route.experiment),
            );
        }
        for (key, arm) in [("baseline", &spec.baseline), ("candidate", &spec.candidate)] {
            if route.arm(arm).is_none() {
                return wrong(key, format!("the route has no arm {arm:?}"));
            }
        }
        if spec.design == Design::Shadow
            && route
                .shadow
                .as_ref()
                .is_none_or(|it| it.arm != spec.candidate)
        {
            return wrong(
                "design",
                "the candidate must be the route's shadow".to_owned(),
            );
        }
        if spec.design == Design::Split && !route.is_split() {
            return wrong(
                "design",
                "give both arms a weight, or the candidate a ramp".to_owned(),
            );
        }
        if experiments.contains_key(&spec.id) {
            return wrong("id", format!("{:?} is used twice", spec.id));
        }
        experiments.insert(spec.id.clone(), Arc::new(spec));
    }
    Ok(experiments)
}

/// Names go into headers.
fn check_name(key: &str, name: &str) -> Result<(), RoutesError> {
    let is_plain = name.chars().all(|it| it.is_ascii_graphic());
    if name.is_empty() || name.len() > MAX_NAME_CHARS || !is_plain {
        let reason = format!("a name has 1 to {MAX_NAME_CHARS} ASCII characters and no spaces");
        return Err(RoutesError::value(key, reason));
    }
    Ok(())
}
