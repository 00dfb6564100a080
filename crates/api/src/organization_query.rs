//! The query of `GET /v1/organization/usage/completions` and `GET /v1/organization/costs`.

use crate::InvalidRequest;
use crate::invalid_request::shown;

/// A validated query: which buckets of which requests to report. Usage and costs have the same
/// parameters, except for `line_items`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationQuery {
    /// Start of the first bucket in seconds since 1970: the requested `start_time`, rounded down to
    /// a multiple of the bucket width.
    pub start_time: i64,
    /// End of the last bucket (exclusive); `None` means now.
    pub end_time: Option<i64>,
    /// Width of a bucket in seconds.
    pub bucket_seconds: i64,
    /// Maximum number of buckets in the answer.
    pub limit: usize,
    /// The fields by which results are grouped.
    pub group_by: Vec<UsageGroup>,
    /// Only requests with one of these model names; empty for all.
    pub models: Vec<String>,
    /// Only requests with one of these adapters.
    pub adapters: Vec<String>,
    /// Only requests of these tenants.
    pub tenants: Vec<String>,
    /// Only requests with one of these `user`s.
    pub user_ids: Vec<String>,
    /// Only requests with one of these API keys.
    pub api_key_ids: Vec<String>,
    /// Only these line items of the costs.
    pub line_items: Vec<String>,
}

/// A field by which results are grouped. `adapter` and `tenant` are Farthing's. OpenAI's fields
/// without a counterpart here (projects, batches, tiers) give a single group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageGroup {
    /// The model name in the request.
    Model,
    /// The adapter.
    Adapter,
    /// The API key's name, or the request's `user` if there is no key.
    Tenant,
    /// The request's `user`.
    User,
    /// The API key's name.
    ApiKey,
    /// The use of the money; for costs only.
    LineItem,
}

/// The two reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrganizationReport {
    /// `/v1/organization/usage/completions`
    Usage,
    /// `/v1/organization/costs`
    Costs,
}

/// Bucket widths: name, length in seconds, and default and maximum of `limit`.
const WIDTHS: [(&str, i64, usize, usize); 3] = [
    ("1m", 60, 60, 1440),
    ("1h", 3600, 24, 168),
    ("1d", 86_400, 7, 31),
];
const MOST_DAYS_OF_COSTS: usize = 180;
const DAYS: usize = 2;

/// The last second that can be reported, in the year 9999.
const LATEST: i64 = 253_402_214_400;

const PAGE_PREFIX: &str = "page_";

impl OrganizationQuery {
    /// Parses the pairs of a query string. Lists are repeated (`group_by=a&group_by=b`, with or
    /// without `[]`). `group_by`, whose names have no commas, may also be separated by commas.
    ///
    /// # Errors
    /// A parameter is missing, invalid, unknown or not supported.
    pub fn from_pairs(
        report: OrganizationReport,
        pairs: Vec<(String, String)>,
    ) -> Result<Self, InvalidRequest> {
        let mut params = Params(pairs);
        let widths = WIDTHS.map(|(name, ..)| name);
        let width = params
            .one("bucket_width")?
            .unwrap_or_else(|| "1d".to_owned());
        let width = widths
            .iter()
            .position(|name| *name == width)
            .ok_or_else(|| invalid_choice("bucket_width", &width, &widths))?;
        let (_, bucket_seconds, limit, most) = WIDTHS[width];
        let most = match report {
            OrganizationReport::Costs if width == DAYS => MOST_DAYS_OF_COSTS,
            _ => most,
        };
        let start_time = params.second("start_time")?;
        let start_time = start_time.ok_or_else(|| InvalidRequest::missing("start_time"))?;
        let end_time = params.second("end_time")?;
        if end_time.is_some_and(|end_time| end_time <= start_time) {
            let message = "Invalid 'end_time': it must be after 'start_time'.";
            return Err(InvalidRequest::value("end_time", message));
        }
        let limit = params
            .integer("limit", 1, most as i64)?
            .unwrap_or(limit as i64);
        let page = params.one("page")?;
        let group_by = params.list("group_by");
        let group_by = group_by.iter().flat_map(|names| names.split(','));
        let groups = group_by.map(|name| UsageGroup::parse(report, name.trim()));
        let groups = groups.collect::<Result<Vec<_>, _>>()?;
        let mut query = Self {
            start_time: start_time - start_time % bucket_seconds,
            end_time,
            bucket_seconds,
            limit: limit as usize,
            group_by: groups.into_iter().flatten().collect(),
            models: params.list("models"),
            adapters: params.list("adapters"),
            tenants: params.list("tenants"),
            user_ids: params.list("user_ids"),
            api_key_ids: params.list("api_key_ids"),
            line_items: match report {
                OrganizationReport::Costs => params.list("line_items"),
                OrganizationReport::Usage => Vec::new(),
            },
        };
        if let Some(page) = page {
            query.turn_to(&page)?;
        }
        params.refuse("project_ids", ": there are no projects")?;
        if params.one("batch")?.is_some_and(|batch| batch != "false") {
            return Err(InvalidRequest::unsupported(
                "batch",
                ": there are no batch jobs",
            ));
        }
        params.finish()?;
        Ok(query)
    }

    /// Whether results are grouped by this field.
    pub fn groups_by(&self, group: UsageGroup) -> bool {
        self.group_by.contains(&group)
    }

    /// The cursor of the page that starts with the bucket at `start_time`.
    pub fn page_at(start_time: i64) -> String {
        format!("{PAGE_PREFIX}{start_time:x}")
    }

    fn turn_to(&mut self, page: &str) -> Result<(), InvalidRequest> {
        let start = page.strip_prefix(PAGE_PREFIX);
        let start = start.and_then(|start| i64::from_str_radix(start, 16).ok());
        match start {
            Some(start)
                if (self.start_time..=LATEST).contains(&start)
                    && start % self.bucket_seconds == 0 =>
            {
                self.start_time = start;
                Ok(())
            }
            _ => {
                let message = format!(
                    "Invalid 'page': {:?} is not a 'next_page' of this query.",
                    shown(page)
                );
                Err(InvalidRequest::value("page", message))
            }
        }
    }
}

impl UsageGroup {
    /// `None` for fields without a counterpart here.
    fn parse(report: OrganizationReport, name: &str) -> Result<Option<Self>, InvalidRequest> {
        let is_costs = report == OrganizationReport::Costs;
        Ok(match name {
            "model" => Some(Self::Model),
            "adapter" => Some(Self::Adapter),
            "tenant" => Some(Self::Tenant),
            "user_id" => Some(Self::User),
            "api_key_id" => Some(Self::ApiKey),
            "line_item" if is_costs => Some(Self::LineItem),
            "project_id" | "api_source" => None,
            "batch" | "service_tier" if !is_costs => None,
            _ => {
                let mut known = vec!["model", "adapter", "tenant", "user_id", "api_key_id"];
                known.extend(is_costs.then_some("line_item"));
                return Err(invalid_choice("group_by", name, &known));
            }
        })
    }
}

/// Parameters that are taken one by one. Those left at the end are unknown.
struct Params(Vec<(String, String)>);

impl Params {
    fn list(&mut self, name: &str) -> Vec<String> {
        let is_asked =
            |(key, _): &mut (String, String)| key.strip_suffix("[]").unwrap_or(key) == name;
        let values = self.0.extract_if(.., is_asked);
        values.map(|(_, value)| value).collect()
    }

    fn one(&mut self, name: &str) -> Result<Option<String>, InvalidRequest> {
        let mut values = self.0.extract_if(.., |(key, _)| key == name);
        let value = values.next().map(|(_, value)| value);
        match values.next() {
            Some(_) => {
                let message = format!("Invalid '{name}': it may only be given once.");
                Err(InvalidRequest::value(name, message))
            }
            None => Ok(value),
        }
    }

    fn integer(
        &mut self,
        name: &str,
        least: i64,
        most: i64,
    ) -> Result<Option<i64>, InvalidRequest> {
        let Some(text) = self.one(name)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(integer) if (least..=most).contains(&integer) => Ok(Some(integer)),
            _ => {
                let message = format!(
                    "Invalid '{name}': expected an integer of {least} to {most}, but got {text:?} \
                     instead."
                );
                Err(InvalidRequest::value(name, message))
            }
        }
    }

    fn second(&mut self, name: &str) -> Result<Option<i64>, InvalidRequest> {
        self.integer(name, 0, LATEST)
    }

    fn refuse(&mut self, name: &str, why: &str) -> Result<(), InvalidRequest> {
        if self.list(name).is_empty() {
            Ok(())
        } else {
            Err(InvalidRequest::unsupported(name, why))
        }
    }

    fn finish(self) -> Result<(), InvalidRequest> {
        match self.0.first() {
            Some((name, _)) => Err(InvalidRequest::unknown(name)),
            None => Ok(()),
        }
    }
}

fn invalid_choice(name: &str, found: &str, known: &[&str]) -> InvalidRequest {
    let known: Vec<_> = known.iter().map(|known| format!("'{known}'")).collect();
    let message = format!(
        "Invalid value: '{}'. Supported values are: {}.",
        shown(found),
        known.join(", ")
    );
    InvalidRequest::value(name, message)
}
