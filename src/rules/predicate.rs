//! The expressions of circuit breakers and of retries: `NetworkErrorRatio() > 0.5 || LatencyAtQuantileMS(50.0) > 100`.
//!
//! The languages are those of Traefik 1.7's library (vulcand/oxy, cbreaker/predicates.go and buffer/threshold.go):
//! comparisons of a function with a constant, joined by `&&`, `||` and `!`, with brackets. `&&` binds closer than `||`.
//! A fraction where oxy wants a whole number is refused, as there. A whole number where it wants a fraction is taken:
//! `NetworkErrorRatio() > 0` can mean one thing only.

use std::fmt;

/// When a circuit breaker opens.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerExpression {
    text: Box<str>,
    tree: Tree<BreakerTest>,
}

/// What a [`BreakerExpression`] asks of its backend's last seconds.
pub trait Measured {
    /// The share of network errors among all requests, from 0 to 1.
    fn network_error_ratio(&self) -> f64;

    /// How many answers have a status of the first range, for each that has one of the second: 0 where none has.
    fn response_code_ratio(&self, of: CodeRange, among: CodeRange) -> f64;

    /// The time within which this share of the requests (0 to 100) was done, in whole milliseconds.
    fn latency_at_quantile_ms(&self, quantile: f64) -> i64;
}

/// Statuses, the last one left out: `500..600`.
pub type CodeRange = std::ops::Range<u16>;

/// When a buffered request is sent again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryExpression {
    text: Box<str>,
    tree: Tree<RetryTest>,
}

/// Tests, joined.
#[derive(Clone, Debug, PartialEq)]
enum Tree<T> {
    Any(Vec<Self>),
    All(Vec<Self>),
    Not(Box<Self>),
    Test(T),
}

#[derive(Clone, Debug, PartialEq)]
enum BreakerTest {
    NetworkErrors(Operator, f64),
    ResponseCodes(CodeRange, CodeRange, Operator, f64),
    LatencyMs(f64, Operator, i64),
}

#[derive(Clone, Debug, PartialEq)]
enum RetryTest {
    IsNetworkError,
    Attempts(Operator, i64),
    ResponseCode(Operator, i64),
    Method { is: bool, method: Box<str> },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Operator {
    AtLeast,
    AtMost,
    Equal,
    NotEqual,
    Above,
    Below,
}

/// Brackets in brackets.
const DEPTH_MAX: usize = 32;

/// Tests in one expression: a breaker's is worked out ten times a second.
const TESTS_MAX: usize = 64;

impl BreakerExpression {
    /// Reads an expression of `NetworkErrorRatio()`, `ResponseCodeRatio(a, b, c, d)` and `LatencyAtQuantileMS(q)`.
    ///
    /// # Errors
    /// A clause without a full stop that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { text: text.trim().into(), tree: Parser::tree(text, BreakerTest::parse)? })
    }

    /// Whether it says that its backend is ill.
    pub fn holds(&self, measured: &impl Measured) -> bool {
        self.tree.holds(&|test| match test {
            BreakerTest::NetworkErrors(operator, bound) => {
                operator.holds(measured.network_error_ratio(), *bound)
            }
            BreakerTest::ResponseCodes(of, among, operator, bound) => {
                operator.holds(measured.response_code_ratio(of.clone(), among.clone()), *bound)
            }
            BreakerTest::LatencyMs(quantile, operator, bound) => {
                operator.holds(measured.latency_at_quantile_ms(*quantile), *bound)
            }
        })
    }

    /// Whether statuses have to be counted for it.
    pub fn asks_for_codes(&self) -> bool {
        self.tree.has(&|test| matches!(test, BreakerTest::ResponseCodes(..)))
    }

    /// Whether times have to be measured for it.
    pub fn asks_for_latency(&self) -> bool {
        self.tree.has(&|test| matches!(test, BreakerTest::LatencyMs(..)))
    }
}

impl RetryExpression {
    /// Reads an expression of `IsNetworkError()`, `Attempts()`, `ResponseCode()` and `RequestMethod()`.
    ///
    /// # Errors
    /// A clause without a full stop that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { text: text.trim().into(), tree: Parser::tree(text, RetryTest::parse)? })
    }

    /// Whether a request is sent again, after so many attempts of which the last one ended so.
    ///
    /// Traefik 1.7 knows a network error by its status alone, so an answer of a server that is itself 502 or 504 is one
    /// too. `ResponseCode()` is 0 where there is no status.
    pub fn holds(
        &self,
        attempts: u32,
        is_network_error: bool,
        status: Option<u16>,
        method: &str,
    ) -> bool {
        self.tree.holds(&|test| match test {
            RetryTest::IsNetworkError => is_network_error || matches!(status, Some(502 | 504)),
            RetryTest::Attempts(operator, bound) => operator.holds(i64::from(attempts), *bound),
            RetryTest::ResponseCode(operator, bound) => {
                operator.holds(status.map_or(0, i64::from), *bound)
            }
            RetryTest::Method { is, method: wanted } => *is == (method == &**wanted),
        })
    }
}

/// As it was written.
impl fmt::Display for BreakerExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// As it was written.
impl fmt::Display for RetryExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<T> Tree<T> {
    fn holds(&self, test: &impl Fn(&T) -> bool) -> bool {
        match self {
            Self::Any(trees) => trees.iter().any(|tree| tree.holds(test)),
            Self::All(trees) => trees.iter().all(|tree| tree.holds(test)),
            Self::Not(tree) => !tree.holds(test),
            Self::Test(of) => test(of),
        }
    }

    fn has(&self, wanted: &impl Fn(&T) -> bool) -> bool {
        match self {
            Self::Any(trees) | Self::All(trees) => trees.iter().any(|tree| tree.has(wanted)),
            Self::Not(tree) => tree.has(wanted),
            Self::Test(of) => wanted(of),
        }
    }
}

impl Operator {
    fn holds<N: PartialOrd + Copy>(self, value: N, bound: N) -> bool {
        match self {
            Self::AtLeast => value >= bound,
            Self::AtMost => value <= bound,
            Self::Equal => value == bound,
            Self::NotEqual => value != bound,
            Self::Above => value > bound,
            Self::Below => value < bound,
        }
    }
}

impl BreakerTest {
    fn parse(name: &str, parser: &mut Parser<'_>) -> Result<Self, String> {
        match name {
            "NetworkErrorRatio" => {
                parser.arguments(name, 0, Parser::whole)?;
                Ok(Self::NetworkErrors(parser.operator(name)?, parser.number()?))
            }
            "ResponseCodeRatio" => {
                let codes = parser.arguments(name, 4, Parser::code)?;
                let (of, among) = (codes[0]..codes[1], codes[2]..codes[3]);
                Ok(Self::ResponseCodes(of, among, parser.operator(name)?, parser.number()?))
            }
            "LatencyAtQuantileMS" => {
                let quantile = parser.arguments(name, 1, Parser::quantile)?[0];
                Ok(Self::LatencyMs(quantile, parser.operator(name)?, parser.whole()?))
            }
            _ => {
                Err(no_function(name, "NetworkErrorRatio, LatencyAtQuantileMS, ResponseCodeRatio"))
            }
        }
    }
}

impl RetryTest {
    fn parse(name: &str, parser: &mut Parser<'_>) -> Result<Self, String> {
        match name {
            "IsNetworkError" | "Attempts" | "ResponseCode" | "RequestMethod" => {
                parser.arguments(name, 0, Parser::whole)?;
            }
            _ => {
                let known = "IsNetworkError, Attempts, ResponseCode, RequestMethod";
                return Err(no_function(name, known));
            }
        }
        match name {
            "IsNetworkError" => Ok(Self::IsNetworkError),
            "Attempts" => Ok(Self::Attempts(parser.operator(name)?, parser.whole()?)),
            "ResponseCode" => Ok(Self::ResponseCode(parser.operator(name)?, parser.whole()?)),
            _ => {
                let is = match parser.operator(name)? {
                    Operator::Equal => true,
                    Operator::NotEqual => false,
                    _ => return Err(format!("{name}() is compared by == or != only")),
                };
                Ok(Self::Method { is, method: parser.quoted()?.into() })
            }
        }
    }
}

fn no_function(name: &str, known: &str) -> String {
    format!("\"{name}\" is no function; there are {known}")
}

struct Parser<'t> {
    rest: &'t str,
    depth: usize,
    tests: usize,
}

/// Reads what follows the name of a function: its arguments, and what it is compared with.
type ParseTest<T> = fn(&str, &mut Parser<'_>) -> Result<T, String>;

impl<'t> Parser<'t> {
    fn tree<T>(text: &'t str, test: ParseTest<T>) -> Result<Tree<T>, String> {
        let mut parser = Self { rest: text, depth: 0, tests: 0 };
        let tree = parser.any(test)?;
        match parser.peek() {
            "" => Ok(tree),
            rest => Err(format!("\"{rest}\" does not belong there")),
        }
    }

    fn peek(&mut self) -> &'t str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.peek().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        match self.eat(token) {
            true => Ok(()),
            false if self.rest.is_empty() => Err(format!("it ends where \"{token}\" should be")),
            false => Err(format!("\"{}\" stands where \"{token}\" should be", self.rest)),
        }
    }

    /// The beginning that fits.
    fn take(&mut self, fits: impl Fn(char) -> bool) -> &'t str {
        let text = self.peek();
        let end = text.find(|c: char| !fits(c)).unwrap_or(text.len());
        let (taken, rest) = text.split_at(end);
        self.rest = rest;
        taken
    }

    /// One of several.
    fn any<T>(&mut self, test: ParseTest<T>) -> Result<Tree<T>, String> {
        let mut trees = vec![self.all(test)?];
        while self.eat("||") {
            trees.push(self.all(test)?);
        }
        Ok(if trees.len() == 1 { trees.remove(0) } else { Tree::Any(trees) })
    }

    /// All of several.
    fn all<T>(&mut self, test: ParseTest<T>) -> Result<Tree<T>, String> {
        let mut trees = vec![self.one(test)?];
        while self.eat("&&") {
            trees.push(self.one(test)?);
        }
        Ok(if trees.len() == 1 { trees.remove(0) } else { Tree::All(trees) })
    }

    fn one<T>(&mut self, test: ParseTest<T>) -> Result<Tree<T>, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("it has more than {DEPTH_MAX} brackets in brackets"));
        }
        let tree = if self.eat("!") {
            Tree::Not(Box::new(self.one(test)?))
        } else if self.eat("(") {
            let tree = self.any(test)?;
            self.expect(")")?;
            tree
        } else {
            self.tests += 1;
            if self.tests > TESTS_MAX {
                return Err(format!("it has more than {TESTS_MAX} comparisons"));
            }
            let name = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
            Tree::Test(test(name, self)?)
        };
        self.depth -= 1;
        Ok(tree)
    }

    /// So many arguments in brackets.
    fn arguments<A>(
        &mut self,
        name: &str,
        count: usize,
        argument: fn(&mut Self) -> Result<A, String>,
    ) -> Result<Vec<A>, String> {
        self.expect("(")?;
        let mut arguments = Vec::with_capacity(count);
        for number in 0..count {
            if number > 0 {
                self.expect(",")?;
            }
            arguments.push(argument(self)?);
        }
        match self.eat(")") {
            true => Ok(arguments),
            false if self.rest.starts_with(',') || count == 0 => {
                Err(format!("{name} takes {count} numbers in its brackets"))
            }
            false => self.expect(")").map(|()| arguments),
        }
    }

    fn operator(&mut self, name: &str) -> Result<Operator, String> {
        let operators = [
            (">=", Operator::AtLeast),
            ("<=", Operator::AtMost),
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            (">", Operator::Above),
            ("<", Operator::Below),
        ];
        let found = operators.into_iter().find(|(sign, _)| self.eat(sign));
        let compared = || format!("{name}() is compared with nothing");
        found.map(|(_, operator)| operator).ok_or_else(compared)
    }

    /// `0.5`, `.5`, `1`.
    fn number(&mut self) -> Result<f64, String> {
        let number = self.take(|c| c.is_ascii_digit() || c == '.');
        number.parse().map_err(|_| self.not_a("number", number))
    }

    fn whole(&mut self) -> Result<i64, String> {
        let number = self.take(|c| c.is_ascii_digit() || c == '.');
        number.parse().map_err(|_| self.not_a("whole number", number))
    }

    fn code(&mut self) -> Result<u16, String> {
        let code = self.whole()?;
        // More is as good as all of them.
        Ok(u16::try_from(code).unwrap_or(u16::MAX))
    }

    fn quantile(&mut self) -> Result<f64, String> {
        let quantile = self.number()?;
        match quantile <= 100.0 {
            true => Ok(quantile),
            false => Err(format!("{quantile} is no share; write one from 0 to 100")),
        }
    }

    /// `"POST"`, or between backquotes.
    fn quoted(&mut self) -> Result<&'t str, String> {
        let mark = ["\"", "`"].into_iter().find(|mark| self.eat(mark));
        let Some(mark) = mark else {
            return Err(format!("\"{}\" stands where \"POST\" should be, in quotes", self.rest));
        };
        let (text, rest) = self.rest.split_once(mark).ok_or("a quote is not closed")?;
        self.rest = rest;
        Ok(text)
    }

    fn not_a(&self, wanted: &str, found: &str) -> String {
        match format!("{found}{}", self.rest) {
            all if all.is_empty() => format!("it ends where a {wanted} should be"),
            all => format!("\"{all}\" stands where a {wanted} should be"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backend with these statuses, and a request for each millisecond up to this.
    struct Sample {
        statuses: &'static [u16],
        slowest_ms: i64,
    }

    impl Measured for Sample {
        fn network_error_ratio(&self) -> f64 {
            self.response_code_ratio(502..503, 0..600)
        }

        fn response_code_ratio(&self, of: CodeRange, among: CodeRange) -> f64 {
            let count = |range: CodeRange| {
                let fitting = self.statuses.iter().filter(|status| range.contains(status));
                f64::from(u32::try_from(fitting.count()).expect("few"))
            };
            if count(among.clone()) == 0.0 { 0.0 } else { count(of) / count(among) }
        }

        #[expect(clippy::cast_possible_truncation, reason = "a share of few milliseconds")]
        fn latency_at_quantile_ms(&self, quantile: f64) -> i64 {
            (f64::from(i32::try_from(self.slowest_ms).expect("short")) * quantile / 100.0) as i64
        }
    }

    /// Three good ones, one that was not there, and one network error; up to 80 ms.
    const ILL: Sample = Sample { statuses: &[200, 200, 200, 404, 502], slowest_ms: 80 };
    const QUIET: Sample = Sample { statuses: &[], slowest_ms: 0 };

    #[track_caller]
    fn breaks(text: &str, sample: &Sample, expected: bool) {
        let expression = BreakerExpression::parse(text).expect(text);
        assert_eq!(expression.holds(sample), expected, "{text}");
    }

    #[test]
    fn a_breaker_compares_what_was_measured() {
        for (text, expected) in [
            ("NetworkErrorRatio() > 0.1", true),
            ("NetworkErrorRatio() > 0.2", false),
            ("NetworkErrorRatio() >= .2", true),
            ("NetworkErrorRatio() == 0.2", true),
            ("NetworkErrorRatio() != 0", true),
            ("NetworkErrorRatio() < 1", true),
            ("NetworkErrorRatio()<=0.19", false),
            ("ResponseCodeRatio(500, 600, 0, 600) > 0.1", true),
            ("ResponseCodeRatio(400,600,200,300) > 0.66", true),
            ("ResponseCodeRatio(400,600,200,300) > 0.67", false),
            // The end of a range is left out.
            ("ResponseCodeRatio(500, 502, 0, 600) > 0", false),
            ("ResponseCodeRatio(0, 9999999, 0, 99999999999) == 1", true),
            ("LatencyAtQuantileMS(50.0) > 39", true),
            ("LatencyAtQuantileMS(50.0) > 40", false),
            ("LatencyAtQuantileMS(100) >= 80", true),
        ] {
            breaks(text, &ILL, expected);
        }
        for text in [
            "NetworkErrorRatio() > 0",
            "ResponseCodeRatio(0, 600, 0, 600) > 0",
            "LatencyAtQuantileMS(99.9) > 0",
        ] {
            breaks(text, &QUIET, false);
        }
    }

    #[test]
    fn and_binds_closer_than_or() {
        let (yes, no) = ("NetworkErrorRatio() == 0.2", "NetworkErrorRatio() == 1");
        for (text, expected) in [
            (format!("{yes} || {no} && {no}"), true),
            (format!("({yes} || {no}) && {no}"), false),
            (format!("{no}&&{no}||{yes}"), true),
            (format!("!({no}) && !!{yes}"), true),
            (format!("!{yes} || !({no} || {yes})"), false),
        ] {
            breaks(&text, &ILL, expected);
        }
    }

    #[test]
    fn only_what_is_asked_for_is_measured() {
        let parse = |text: &str| BreakerExpression::parse(text).expect(text);
        let all = parse("!(LatencyAtQuantileMS(9.0) > 1) || ResponseCodeRatio(1,2,3,4) < 1");
        assert!(all.asks_for_latency() && all.asks_for_codes());
        let plain = parse(" NetworkErrorRatio() > 0.5 ");
        assert!(!plain.asks_for_latency() && !plain.asks_for_codes());
        assert_eq!(plain.to_string(), "NetworkErrorRatio() > 0.5");
    }

    #[test]
    fn a_retry_looks_at_the_last_attempt() {
        let usual = "IsNetworkError() && Attempts() <= 2";
        for (text, attempts, is_network_error, status, method, expected) in [
            (usual, 1, true, None, "GET", true),
            (usual, 2, true, Some(502), "GET", true),
            (usual, 3, true, Some(502), "GET", false),
            (usual, 1, false, Some(500), "GET", false),
            // As in 1.7, whose ever it is.
            (usual, 1, false, Some(504), "GET", true),
            ("ResponseCode() == 503", 1, false, Some(503), "GET", true),
            ("ResponseCode() == 0", 1, true, None, "GET", true),
            ("ResponseCode() >= 500 && ResponseCode() != 501", 9, false, Some(501), "GET", false),
            ("RequestMethod() == \"POST\"", 1, false, Some(200), "POST", true),
            ("RequestMethod() == \"POST\"", 1, false, Some(200), "GET", false),
            ("RequestMethod() != `POST`", 1, false, Some(200), "GET", true),
            ("!IsNetworkError()", 1, false, Some(200), "GET", true),
        ] {
            let expression = RetryExpression::parse(text).expect(text);
            let holds = expression.holds(attempts, is_network_error, status, method);
            assert_eq!(holds, expected, "{text} after {attempts}, {status:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            ("", "no function"),
            ("NetworkErrorRatio > 0.5", "\"(\" should be"),
            ("NetworkErorRatio() > 0.5", "there are NetworkErrorRatio"),
            ("NetworkErrorRatio() > x", "a number should be"),
            ("NetworkErrorRatio() > -1", "a number should be"),
            ("NetworkErrorRatio() > 0.5.1", "a number should be"),
            ("NetworkErrorRatio() >", "it ends where a number"),
            ("NetworkErrorRatio()", "compared with nothing"),
            ("NetworkErrorRatio(1) > 1", "takes 0 numbers"),
            ("LatencyAtQuantileMS() > 1", "a number should be"),
            ("LatencyAtQuantileMS(101.0) > 1", "from 0 to 100"),
            ("LatencyAtQuantileMS(50.0) > 1.5", "a whole number should be"),
            ("ResponseCodeRatio(1, 2, 3) > 1", "\",\" should be"),
            ("ResponseCodeRatio(1, 2, 3, 4, 5) > 1", "takes 4 numbers"),
            ("ResponseCodeRatio(1.5, 2, 3, 4) > 1", "a whole number should be"),
            ("(NetworkErrorRatio() > 1", "ends where"),
            ("NetworkErrorRatio() > 1 )", "does not belong"),
            ("NetworkErrorRatio() > 1 &", "does not belong"),
            ("IsNetworkError()", "no function"),
        ] {
            let why = BreakerExpression::parse(text).expect_err(text);
            assert!(why.contains(word), "{text}: {why}");
        }
        for (text, word) in [
            ("IsNetworkError() > 1", "does not belong"),
            ("Attempts() < 1.5", "a whole number should be"),
            ("RequestMethod() > \"A\"", "by == or != only"),
            ("RequestMethod() == POST", "in quotes"),
            ("RequestMethod() == \"POST", "not closed"),
            ("NetworkErrorRatio() > 1", "there are IsNetworkError"),
        ] {
            let why = RetryExpression::parse(text).expect_err(text);
            assert!(why.contains(word), "{text}: {why}");
        }
    }

    #[test]
    fn an_expression_has_bounds() {
        assert!(BreakerExpression::parse(&"(".repeat(10_000)).is_err());
        assert!(BreakerExpression::parse(&"!".repeat(10_000)).is_err());
        let many = |count| vec!["IsNetworkError()"; count].join("||");
        assert!(RetryExpression::parse(&many(TESTS_MAX)).is_ok());
        assert!(RetryExpression::parse(&many(TESTS_MAX + 1)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text in "[A-Za-z()<>=!&|0-9., \"]{0,40}") {
            let _ = BreakerExpression::parse(&text);
            let _ = RetryExpression::parse(&text);
        }
    }
}
