//! Values of labels and of files, checked one by one, and what is asked for with them.

use std::collections::{BTreeMap, BTreeSet};

use super::labels::{Kind, Label};
use crate::config::{
    AllowList, Auth, BackendWishes, Buffering, CertInfos, CircuitBreaker, ClientCertWish,
    ClientTls, DnParts, ErrorPage, ForwardAuth, FrontendWishes, HeaderLines, HeadersWish,
    HealthCheck, MaintenanceWish, MaxConn, Rate, RateLimit, Redirect, ResponseForwarding,
    TimeoutsWish, UsersAuth,
};
use crate::middleware::{
    Cors, Extractor, InFlight, Rate as MeantRate, RateLimit as MeantRateLimit, check_header_name,
    check_host, check_method, check_replacement, check_request_line, check_response_line,
    check_value, origin,
};
use crate::model::{canonical, network};
use crate::rules::{BreakerExpression, RetryExpression, expression};
use crate::settings::duration;

/// A value as it was written.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    /// A label's, or a plain one of a file.
    Text(String),
    /// A file's list.
    List(Vec<String>),
    /// A file's table.
    Table(Vec<(String, String)>),
}

/// A value that fits its label.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Value {
    Text(String),
    Flag(bool),
    Number(i64),
    List(Vec<String>),
    Headers(HeaderLines),
}

/// What is wrong with a value, and what to write instead: sentences without and with a full stop.
pub(super) struct Misfit {
    pub(super) why: String,
    pub(super) hint: &'static str,
}

/// Values by what follows `traefik.frontend.` or `traefik.backend.` in their keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    fitting: BTreeMap<String, Value>,
    /// What did not fit.
    refused: BTreeSet<String>,
}

impl Values {
    /// Adds a value, if it fits.
    ///
    /// # Errors
    /// What is wrong with it; it is not added.
    pub(super) fn add(&mut self, path: &str, label: &Label, raw: Raw) -> Result<(), Misfit> {
        if label.kind == Kind::Headers {
            return self.add_lines(path, label, raw);
        }
        let fitting = read(label.kind, raw).and_then(|value| fits(label, &value).map(|()| value));
        match fitting {
            Ok(value) => _ = self.fitting.insert(path.to_owned(), value),
            Err(misfit) => {
                self.refused.insert(path.to_owned());
                return Err(misfit);
            }
        }
        Ok(())
    }

    /// Adds header lines. One that does not fit takes no other one along: it may be there to take away what clients say.
    fn add_lines(&mut self, path: &str, label: &Label, raw: Raw) -> Result<(), Misfit> {
        let (mut lines, mut wrong) = (HeaderLines::new(), Vec::new());
        for pair in pairs(raw)? {
            let fitting = pair.and_then(|(name, value)| {
                let (name, value) = (name.trim(), value.trim());
                check_line(label, name, value).map(|()| (canonical(name), value.to_owned()))
            });
            match fitting {
                Ok((name, value)) => _ = lines.insert(name, value),
                Err(why) => wrong.push(why),
            }
        }
        if wrong.is_empty() || !lines.is_empty() {
            self.fitting.insert(path.to_owned(), Value::Headers(lines));
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(Misfit {
                why: wrong.join("; "),
                hint: "Write Name: value, with || between several; the other lines are in force.",
            }),
        }
    }

    /// Whether something was said of this that does not fit.
    fn was_refused(&self, path: &str) -> bool {
        self.refused.contains(path)
    }

    /// Whether anything was said of this.
    fn has(&self, path: &str) -> bool {
        let below = |key: &String| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        self.fitting.contains_key(path) || self.fitting.keys().any(below)
    }

    /// The same, and it is not empty.
    fn has_text(&self, path: &str) -> bool {
        matches!(self.fitting.get(path), Some(Value::Text(text)) if !text.is_empty())
    }

    /// The names that stand at the `*` of `path.*`, each as a part of a path.
    fn names(&self, path: &str) -> BTreeSet<&str> {
        let below = self.fitting.keys().filter_map(|key| key.strip_prefix(path)?.strip_prefix('.'));
        below.filter_map(|rest| Some(rest.split_once('.')?.0)).collect()
    }

    fn text(&self, path: &str) -> String {
        match self.fitting.get(path) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        }
    }

    fn flag(&self, path: &str) -> bool {
        self.fitting.get(path) == Some(&Value::Flag(true))
    }

    fn number(&self, path: &str) -> i64 {
        match self.fitting.get(path) {
            Some(Value::Number(number)) => *number,
            _ => 0,
        }
    }

    fn list(&self, path: &str) -> Vec<String> {
        match self.fitting.get(path) {
            Some(Value::List(list)) => list.clone(),
            _ => Vec::new(),
        }
    }

    fn headers(&self, path: &str) -> HeaderLines {
        match self.fitting.get(path) {
            Some(Value::Headers(lines)) => lines.clone(),
            _ => HeaderLines::new(),
        }
    }
}

/// Stands for a dot within a name: dots are between the parts of a path. Only files have such names.
const DOT: &str = "\u{1f}";

/// A name as one part of a path.
pub(super) fn part_of(name: &str) -> String {
    name.replace('.', DOT)
}

/// The name that stands in a part of a path.
pub(super) fn name_of(part: &str) -> String {
    part.replace(DOT, ".")
}

/// What is told of a value that does not fit its label. `shown` is what says it.
pub(super) fn unfit(shown: &str, label: &Label, misfit: &Misfit) -> String {
    let why = &misfit.why;
    match (label.is_guard(), label.closes()) {
        (true, _) => {
            format!("{shown} protects, and cannot be read: {why}. Its frontend stays closed.")
        }
        (false, true) => format!("{shown}: {why}. It leads elsewhere: its frontend stays closed."),
        (false, false) => format!("{shown}: {why}; it is left out."),
    }
}

/// Whether what one label says can be acted on.
fn fits(label: &Label, value: &Value) -> Result<(), Misfit> {
    let frontend = label.key.strip_prefix("traefik.frontend.");
    let backend = label.key.strip_prefix("traefik.backend.");
    frontend.map_or(Ok(()), |path| fits_frontend(path, value))?;
    backend.map_or(Ok(()), |path| fits_backend(path, value))
}

/// The counts that make sense: more tries or passes in a row than this is a slip.
const COUNTS: std::ops::RangeInclusive<i64> = 1..=100;

/// Whether a backend can do what is asked of it.
fn fits_backend(path: &str, value: &Value) -> Result<(), Misfit> {
    let (why, hint) = match (path, value) {
        ("attempts" | "healthcheck.rise" | "healthcheck.fall", Value::Number(count))
            if !COUNTS.contains(count) =>
        {
            (format!("{count} is not from 1 to 100"), "Write how often; 1 is the least.")
        }
        ("timeout.connect" | "timeout.response" | "timeout.body", Value::Text(text))
            if duration(text).is_ok_and(|wait| wait.is_zero()) =>
        {
            (format!("\"{text}\" leaves no time at all"), "Write 10s, 5m or 500ms.")
        }
        // 1.7 refuses them too (oxy, buffer.go, `MaxRequestBodyBytes` and its like).
        (path, Value::Number(bytes @ ..0)) if path.starts_with("buffering.") => {
            (format!("{bytes} is less than nothing"), "Write bytes; 0 is as if nothing was said.")
        }
        _ => return Ok(()),
    };
    Err(Misfit { why, hint })
}

/// Whether a frontend can do what is asked of it: asked of the steps that do.
fn fits_frontend(path: &str, value: &Value) -> Result<(), Misfit> {
    let text = || match value {
        Value::Text(text) => text.as_str(),
        _ => "",
    };
    let words = || match value {
        Value::List(list) => list.as_slice(),
        _ => &[],
    };
    let (fitting, hint) = match path {
        "headers.accessControlAllowOrigin" => {
            let fitting = words().iter().try_for_each(|word| origin(word).map(|_| ()));
            (fitting, "Write https://app.example.com, without a slash at the end, or *.")
        }
        "headers.accessControlAllowMethods" => {
            let fitting = words().iter().try_for_each(|word| check_method(word));
            (fitting, "Write GET,PUT.")
        }
        "headers.accessControlAllowHeaders"
        | "headers.accessControlExposeHeaders"
        | "headers.hostsProxyHeaders" => {
            let fitting = words().iter().try_for_each(|word| check_header_name(word));
            (fitting, "Write names of header lines with commas between them.")
        }
        "headers.STSSeconds" | "headers.accessControlMaxAge" => {
            let fitting = match value {
                Value::Number(0..) => Ok(()),
                _ => Err("is less than nothing".to_owned()),
            };
            (fitting, "Write seconds.")
        }
        "headers.SSLHost" => (check_host(text()), "Write a.example.com."),
        "headers.customFrameOptionsValue"
        | "headers.customBrowserXSSValue"
        | "headers.contentSecurityPolicy"
        | "headers.publicKey"
        | "headers.referrerPolicy" => (check_value(text()), "Write plain letters on one line."),
        "redirect.replacement" => {
            let hint = "Write https://a.example.com/$1: $1 is a group of the expression.";
            (check_replacement(text()), hint)
        }
        _ => return Ok(()),
    };
    fitting.map_err(|why| Misfit { why, hint })
}

/// What is wrong with values of a frontend that are good ones, each for itself: where it is told best, why, and what to
/// write instead.
fn together(values: &Values) -> Vec<(&'static str, String, &'static str)> {
    let mut wrong = Vec::new();
    let (regex, replacement) =
        (values.has_text("redirect.regex"), values.has_text("redirect.replacement"));
    let is_told =
        values.was_refused("redirect.regex") || values.was_refused("redirect.replacement");
    if regex != replacement && !is_told && !values.has_text("redirect.entryPoint") {
        let (at, missing) = match regex {
            true => ("redirect.regex", "redirect.replacement"),
            false => ("redirect.replacement", "redirect.regex"),
        };
        let why = format!("there is no {missing} beside it; nobody is sent anywhere");
        wrong.push((at, why, "Write both."));
    }
    if values.has("maintenanceExcept") && !values.has("maintenance") {
        let why = "there is no maintenance that it could be an exception to".to_owned();
        wrong.push(("maintenanceExcept", why, "Write maintenance = true, or leave both out."));
    }
    if let Err(why) = cors(values).check() {
        let hint = "Name the sites, methods and lines one by one.";
        wrong.push(("headers.accessControlAllowCredentials", why, hint));
    }
    wrong
}

/// What a frontend says of other sites.
fn cors(v: &Values) -> Cors {
    let origins = v.list("headers.accessControlAllowOrigin");
    Cors {
        origins: origins.iter().filter_map(|text| origin(text).ok()).collect(),
        methods: v.list("headers.accessControlAllowMethods"),
        headers: v.list("headers.accessControlAllowHeaders"),
        expose: v.list("headers.accessControlExposeHeaders"),
        credentials: v.flag("headers.accessControlAllowCredentials"),
        max_age_s: v
            .has("headers.accessControlMaxAge")
            .then(|| v.number("headers.accessControlMaxAge")),
    }
}

/// Splits at commas; blanks and empty entries vanish.
pub(super) fn split_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// What Go's `strconv.ParseBool` takes, as Traefik 1.7 does.
pub(super) fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn read(kind: Kind, raw: Raw) -> Result<Value, Misfit> {
    let misfit = |why: String, hint: &'static str| Err(Misfit { why, hint });
    let list = match raw {
        Raw::Text(text) if is_list(kind) => split_list(&text),
        Raw::List(list) if is_list(kind) => list,
        Raw::List(_) => return misfit("is a list".to_owned(), "Write one value."),
        Raw::Table(_) => return misfit("is a table".to_owned(), "Write one value."),
        Raw::Text(text) => return read_text(kind, text),
    };
    if kind == Kind::Networks
        && let Some(bad) = list.iter().find(|word| network(word).is_none())
    {
        let why = format!("\"{bad}\" is neither an address nor a network");
        return misfit(why, "Write 10.0.0.1 or 10.0.0.0/8.");
    }
    if kind == Kind::Statuses
        && let Some(bad) = list.iter().find(|word| !is_status_range(word))
    {
        return misfit(format!("\"{bad}\" is no status of an answer"), "Write 404 or 500-599.");
    }
    match list.is_empty() {
        true => misfit("is empty".to_owned(), "Write values with commas between them."),
        false => Ok(Value::List(list)),
    }
}

fn is_list(kind: Kind) -> bool {
    matches!(kind, Kind::List | Kind::Networks | Kind::Statuses)
}

/// `404`, `500-599`.
fn is_status_range(word: &str) -> bool {
    let (from, to) = word.split_once('-').unwrap_or((word, word));
    let status = |text: &str| text.trim().parse::<u16>().ok().filter(|s| (100..=599).contains(s));
    matches!((status(from), status(to)), (Some(from), Some(to)) if from <= to)
}

fn read_text(kind: Kind, text: String) -> Result<Value, Misfit> {
    let quoted = |rest: &str| format!("\"{text}\" {rest}");
    let misfit = |why: String, hint: &'static str| Err(Misfit { why, hint });
    match kind {
        Kind::Flag => match boolean(&text) {
            Some(flag) => Ok(Value::Flag(flag)),
            None => misfit(quoted("is neither true nor false"), "Write true or false."),
        },
        Kind::Number => match text.parse() {
            Ok(number) => Ok(Value::Number(number)),
            Err(_) => misfit(quoted("is not a whole number"), "Write digits only."),
        },
        Kind::Duration => match duration(&text) {
            Ok(_) => Ok(Value::Text(text)),
            Err(why) => misfit(why, "Write 10s, 5m or 500ms."),
        },
        Kind::Expression => match expression(&text) {
            Ok(_) => Ok(Value::Text(text)),
            Err(why) => misfit(quoted(&format!("cannot be read: {why}")), "Mend the expression."),
        },
        Kind::Breaker | Kind::Retry => {
            let read = match kind {
                Kind::Breaker => BreakerExpression::parse(&text).map(|_| ()),
                _ => RetryExpression::parse(&text).map(|_| ()),
            };
            match read {
                Ok(()) => Ok(Value::Text(text)),
                Err(why) => {
                    misfit(quoted(&format!("cannot be read: {why}")), "Mend the expression.")
                }
            }
        }
        Kind::Extractor => match Extractor::parse(&text) {
            Ok(_) => Ok(Value::Text(text)),
            Err(why) => misfit(why, "Write client.ip, request.host or request.header.NAME."),
        },
        Kind::Switch => match (boolean(&text), duration(&text)) {
            (Some(flag), _) => Ok(Value::Flag(flag)),
            (None, Ok(_)) => Ok(Value::Text(text)),
            (None, Err(_)) => {
                misfit(quoted("is neither true nor false nor a time"), "Write true, false or 10m.")
            }
        },
        Kind::Text | Kind::List | Kind::Networks | Kind::Statuses | Kind::Headers => {
            Ok(Value::Text(text))
        }
    }
}

/// Name and value of a header line, or why it is none.
type Pair = Result<(String, String), String>;

/// The header lines that are asked for.
fn pairs(raw: Raw) -> Result<Vec<Pair>, Misfit> {
    match raw {
        Raw::Table(pairs) => Ok(pairs.into_iter().map(Ok).collect()),
        Raw::List(_) => {
            Err(Misfit { why: "is a list".to_owned(), hint: "Write a table of lines." })
        }
        Raw::Text(text) => {
            let pair = |(place, pair): (usize, &str)| match pair.split_once(':') {
                Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
                // What stands there may be a secret.
                None => Err(format!("line {} has no colon", place + 1)),
            };
            Ok(text.split("||").enumerate().map(pair).collect())
        }
    }
}

/// Whether a header line can be what a label asks for.
fn check_line(label: &Label, name: &str, value: &str) -> Result<(), String> {
    check_header_name(name)?;
    check_value(value).map_err(|_| format!("what {name} says cannot stand in a header line"))?;
    match label.key {
        "traefik.frontend.headers.customRequestHeaders" => check_request_line(name, value),
        "traefik.frontend.headers.customResponseHeaders" => check_response_line(name),
        _ => Ok(()),
    }
}

/// What a frontend asks for besides its rule (Traefik 1.7, provider/label/partial.go).
pub(super) fn frontend_wishes(values: &Values) -> FrontendWishes {
    if values.fitting.is_empty() {
        // So it is with most.
        return FrontendWishes::default();
    }
    let v = values;
    FrontendWishes {
        pass_tls_cert: v.flag("passTLSCert"),
        pass_tls_client_cert: v.has("passTLSClientCert").then(|| ClientCertWish {
            pem: v.flag("passTLSClientCert.pem"),
            infos: v.has("passTLSClientCert.infos").then(|| cert_infos(v)),
        }),
        white_list: allow_list(v),
        headers: Some(headers_wish(v)).filter(|headers| *headers != HeadersWish::default()),
        errors: v
            .names("errors")
            .into_iter()
            .map(|name| (name_of(name), error_page(v, name)))
            .collect(),
        rate_limit: v.has("rateLimit.extractorFunc").then(|| RateLimit {
            rateset: v
                .names("rateLimit.rateSet")
                .into_iter()
                .take(MeantRateLimit::RATES_MAX)
                .map(|name| (name_of(name), rate(v, name)))
                .collect(),
            extractor_func: v.text("rateLimit.extractorFunc"),
        }),
        redirect: redirect(v),
        compress: v.flag("compress"),
        auth: auth(v),
        maintenance: maintenance(v),
    }
}

/// What is wrong with values that fit their labels each for itself: below which key, and what.
pub(super) fn frontend_misfits(v: &Values) -> Vec<(String, Misfit)> {
    if v.fitting.is_empty() {
        return Vec::new();
    }
    let wrong = together(v).into_iter();
    let mut misfits: Vec<(String, Misfit)> =
        wrong.map(|(path, why, hint)| (path.to_owned(), Misfit { why, hint })).collect();
    for (place, name) in v.names("rateLimit.rateSet").into_iter().enumerate() {
        let Rate { period, average, burst } = rate(v, name);
        if place >= MeantRateLimit::RATES_MAX {
            let why = format!("one limit has up to {} rates", MeantRateLimit::RATES_MAX);
            let hint = "Take one away: they count in the order of their names.";
            misfits.push((format!("rateLimit.rateSet.{name}"), Misfit { why, hint }));
        } else if let Err(why) = MeantRate::new(period, average, burst) {
            let hint = "Write a period, an average and a burst, each above 0.";
            misfits.push((format!("rateLimit.rateSet.{name}"), Misfit { why, hint }));
        }
    }
    if v.has("rateLimit.rateSet") && !v.has("rateLimit.extractorFunc") {
        let why = "nothing says what requests are counted by".to_owned();
        let hint = "Set rateLimit.extractorFunc, to client.ip for example.";
        misfits.push(("rateLimit.rateSet".to_owned(), Misfit { why, hint }));
    }
    if !v.has("rateLimit.rateSet") && v.has("rateLimit.extractorFunc") {
        let why = "there is no rate".to_owned();
        let hint = "Set rateLimit.rateSet.NAME.period, average and burst.";
        misfits.push(("rateLimit.extractorFunc".to_owned(), Misfit { why, hint }));
    }
    misfits
}

/// The pages that stand for nothing but what steps of their frontend answer, which no page replaces: below which key, and
/// what is told of it after that key.
pub(super) fn idle_pages(v: &Values) -> Vec<(String, String)> {
    let answered = [
        ("401", v.has("auth")),
        ("403", v.has("whiteList") || v.has("whitelistSourceRange") || v.has("auth.forward")),
        ("429", v.has("rateLimit")),
    ];
    let is_own =
        |status: &String| answered.iter().any(|(own, is_asked)| *is_asked && own == status);
    let pages = v.names("errors").into_iter().filter_map(|name| {
        let path = format!("errors.{name}.status");
        let statuses = v.list(&path);
        let is_idle = !statuses.is_empty() && statuses.iter().all(is_own);
        is_idle.then(|| {
            let what = format!(
                "stands for what servers answer: a {} of its frontend's own steps gets no page.",
                statuses.join(" or ")
            );
            (path, what)
        })
    });
    pages.collect()
}

/// What to do about an idle page.
pub(super) const IDLE_PAGE_HINT: &str = "With auth.forward clients get what the server that is asked answers, a redirect to a login page too.";

/// What is wrong with values of a backend that fit their labels each for itself.
pub(super) fn backend_misfits(v: &Values) -> Vec<(String, Misfit)> {
    let amount = v.number("maxconn.amount");
    let (why, hint) = match InFlight::amount(amount) {
        _ if amount == 0 => return Vec::new(),
        Err(why) => (why, "Write 1 or more, or 0 for no bound."),
        Ok(_) if v.was_refused("maxconn.extractorfunc") => {
            ("what it counts by cannot be read".to_owned(), "Mend maxconn.extractorfunc.")
        }
        Ok(_) => return Vec::new(),
    };
    vec![("maxconn.amount".to_owned(), Misfit { why, hint })]
}

/// What a backend asks for besides its servers and its method (Traefik 1.7, provider/label/partial.go).
pub(super) fn backend_wishes(values: &Values) -> BackendWishes {
    if values.fitting.is_empty() {
        return BackendWishes::default();
    }
    let v = values;
    let is_bounded = v.has("maxconn.amount") && !v.was_refused("maxconn.extractorfunc");
    BackendWishes {
        circuit_breaker: v
            .has("circuitbreaker.expression")
            .then(|| CircuitBreaker { expression: v.text("circuitbreaker.expression") }),
        // A bound for each client is none for all of them.
        max_conn: is_bounded.then(|| MaxConn {
            amount: v.number("maxconn.amount"),
            extractor_func: match v.has("maxconn.extractorfunc") {
                true => v.text("maxconn.extractorfunc"),
                false => "request.host".to_owned(),
            },
        }),
        health_check: v.has("healthcheck.path").then(|| HealthCheck {
            scheme: v.text("healthcheck.scheme"),
            path: v.text("healthcheck.path"),
            port: v.number("healthcheck.port"),
            interval: v.text("healthcheck.interval"),
            hostname: v.text("healthcheck.hostname"),
            headers: v.headers("healthcheck.headers"),
            timeout: v.text("healthcheck.timeout"),
            rise: v.number("healthcheck.rise"),
            fall: v.number("healthcheck.fall"),
            status: v.list("healthcheck.status"),
            ..HealthCheck::default()
        }),
        buffering: v.has("buffering").then(|| Buffering {
            max_request_body_bytes: v.number("buffering.maxRequestBodyBytes"),
            mem_request_body_bytes: v.number("buffering.memRequestBodyBytes"),
            max_response_body_bytes: v.number("buffering.maxResponseBodyBytes"),
            mem_response_body_bytes: v.number("buffering.memResponseBodyBytes"),
            retry_expression: v.text("buffering.retryExpression"),
        }),
        response_forwarding: v.has("responseForwarding.flushInterval").then(|| {
            ResponseForwarding { flush_interval: v.text("responseForwarding.flushInterval") }
        }),
        timeouts: (v.has("timeout") || v.has("attempts")).then(|| TimeoutsWish {
            connect: v.text("timeout.connect"),
            response: v.text("timeout.response"),
            body: v.text("timeout.body"),
            attempts: v.number("attempts"),
        }),
    }
}

fn cert_infos(v: &Values) -> CertInfos {
    let part = |whose: &str| {
        let flag = |name: &str| v.flag(&format!("passTLSClientCert.infos.{whose}.{name}"));
        v.has(&format!("passTLSClientCert.infos.{whose}")).then(|| DnParts {
            country: flag("country"),
            province: flag("province"),
            locality: flag("locality"),
            organization: flag("organization"),
            common_name: flag("commonName"),
            serial_number: flag("serialNumber"),
            domain_component: flag("domainComponent"),
        })
    };
    CertInfos {
        not_after: v.flag("passTLSClientCert.infos.notAfter"),
        not_before: v.flag("passTLSClientCert.infos.notBefore"),
        subject: part("subject"),
        issuer: part("issuer"),
        sans: v.flag("passTLSClientCert.infos.sans"),
    }
}

fn allow_list(v: &Values) -> Option<AllowList> {
    let ranges = v.list("whiteList.sourceRange");
    if !ranges.is_empty() {
        let use_x_forwarded_for = v.flag("whiteList.useXForwardedFor");
        return Some(AllowList { source_range: ranges, use_x_forwarded_for });
    }
    let old = v.list("whitelistSourceRange");
    (!old.is_empty()).then_some(AllowList { source_range: old, use_x_forwarded_for: false })
}

fn error_page(v: &Values, name: &str) -> ErrorPage {
    ErrorPage {
        status: v.list(&format!("errors.{name}.status")),
        backend: v.text(&format!("errors.{name}.backend")),
        query: v.text(&format!("errors.{name}.query")),
    }
}

fn rate(v: &Values, name: &str) -> Rate {
    let period = duration(&v.text(&format!("rateLimit.rateSet.{name}.period"))).unwrap_or_default();
    Rate {
        period: i64::try_from(period.as_nanos()).unwrap_or(i64::MAX),
        average: v.number(&format!("rateLimit.rateSet.{name}.average")),
        burst: v.number(&format!("rateLimit.rateSet.{name}.burst")),
    }
}

fn maintenance(v: &Values) -> Option<MaintenanceWish> {
    let retry_after = v.text("maintenance");
    let is_on = v.flag("maintenance") || !retry_after.is_empty();
    is_on.then(|| MaintenanceWish { retry_after, except: v.list("maintenanceExcept") })
}

fn redirect(v: &Values) -> Option<Redirect> {
    let permanent = v.flag("redirect.permanent");
    if v.has_text("redirect.entryPoint") {
        let entry_point = v.text("redirect.entryPoint");
        return Some(Redirect { entry_point, permanent, ..Redirect::default() });
    }
    (v.has_text("redirect.regex") && v.has_text("redirect.replacement")).then(|| Redirect {
        regex: v.text("redirect.regex"),
        replacement: v.text("redirect.replacement"),
        permanent,
        ..Redirect::default()
    })
}

fn auth(v: &Values) -> Option<Auth> {
    let users = |kind: &str| {
        let old = v.list(&format!("auth.{kind}"));
        let users = if old.is_empty() { v.list(&format!("auth.{kind}.users")) } else { old };
        v.has(&format!("auth.{kind}")).then(|| UsersAuth {
            users,
            users_file: v.text(&format!("auth.{kind}.usersFile")),
            // The one word for both is in 1.7's docs, and nowhere in its code.
            remove_header: v.flag(&format!("auth.{kind}.removeHeader"))
                || v.flag("auth.removeHeader"),
        })
    };
    // Basic goes before digest, digest before forward.
    let basic = users("basic");
    let digest = users("digest").filter(|_| basic.is_none());
    let is_first = basic.is_none() && digest.is_none();
    let forward = v.has("auth.forward").then(|| ForwardAuth {
        address: v.text("auth.forward.address"),
        tls: v.has("auth.forward.tls").then(|| ClientTls {
            ca: v.text("auth.forward.tls.ca"),
            ca_optional: v.flag("auth.forward.tls.caOptional"),
            cert: v.text("auth.forward.tls.cert"),
            key: v.text("auth.forward.tls.key"),
            insecure_skip_verify: v.flag("auth.forward.tls.insecureSkipVerify"),
        }),
        trust_forward_header: v.flag("auth.forward.trustForwardHeader"),
        auth_response_headers: v.list("auth.forward.authResponseHeaders"),
    });
    let forward = forward.filter(|_| is_first);
    let is_any = basic.is_some() || digest.is_some() || forward.is_some();
    is_any.then(|| Auth { basic, digest, forward, header_field: v.text("auth.headerField") })
}

fn headers_wish(v: &Values) -> HeadersWish {
    let cors = cors(v);
    HeadersWish {
        custom_request_headers: v.headers("headers.customRequestHeaders"),
        custom_response_headers: v.headers("headers.customResponseHeaders"),
        allowed_hosts: v.list("headers.allowedHosts"),
        hosts_proxy_headers: v.list("headers.hostsProxyHeaders"),
        ssl_redirect: v.flag("headers.SSLRedirect"),
        ssl_temporary_redirect: v.flag("headers.SSLTemporaryRedirect"),
        ssl_host: v.text("headers.SSLHost"),
        ssl_proxy_headers: v.headers("headers.SSLProxyHeaders"),
        ssl_force_host: v.flag("headers.SSLForceHost"),
        sts_seconds: v.number("headers.STSSeconds"),
        sts_include_subdomains: v.flag("headers.STSIncludeSubdomains"),
        sts_preload: v.flag("headers.STSPreload"),
        force_sts_header: v.flag("headers.forceSTSHeader"),
        frame_deny: v.flag("headers.frameDeny"),
        custom_frame_options_value: v.text("headers.customFrameOptionsValue"),
        content_type_nosniff: v.flag("headers.contentTypeNosniff"),
        browser_xss_filter: v.flag("headers.browserXSSFilter"),
        custom_browser_xss_value: v.text("headers.customBrowserXSSValue"),
        content_security_policy: v.text("headers.contentSecurityPolicy"),
        public_key: v.text("headers.publicKey"),
        referrer_policy: v.text("headers.referrerPolicy"),
        is_development: v.flag("headers.isDevelopment"),
        access_control_allow_origin: cors.origins,
        access_control_allow_methods: cors.methods,
        access_control_allow_headers: cors.headers,
        access_control_expose_headers: cors.expose,
        access_control_allow_credentials: cors.credentials,
        access_control_max_age: cors.max_age_s,
    }
}
