//! The expressions of circuit breakers and of retries: `NetworkErrorRatio() > 0.5 || LatencyAtQuantileMS(50.0) > 100`.
//!
//! Only checked here; nobody acts on them yet. The grammar is that of Traefik 1.7's library (vulcand/oxy, cbreaker and
//! buffer): comparisons of a function with a constant, joined by `&&`, `||` and `!`, with brackets.

/// A function: its name, and how many numbers it takes.
type Function = (&'static str, usize);

/// The functions of `traefik.backend.circuitbreaker.expression`.
pub(super) const BREAKER: &[Function] =
    &[("NetworkErrorRatio", 0), ("LatencyAtQuantileMS", 1), ("ResponseCodeRatio", 4)];

/// The functions of `traefik.backend.buffering.retryExpression`.
pub(super) const RETRY: &[Function] =
    &[("IsNetworkError", 0), ("Attempts", 0), ("ResponseCode", 0), ("RequestMethod", 0)];

/// Brackets in brackets.
const DEPTH_MAX: usize = 32;

/// Whether a text is such an expression.
///
/// # Errors
/// A clause without a full stop that says what is wrong with it.
pub(super) fn check(text: &str, functions: &[Function]) -> Result<(), String> {
    let mut parser = Parser { rest: text, functions, depth: 0 };
    parser.any()?;
    match parser.peek() {
        "" => Ok(()),
        rest => Err(format!("\"{rest}\" does not belong there")),
    }
}

struct Parser<'t> {
    rest: &'t str,
    functions: &'t [Function],
    depth: usize,
}

impl<'t> Parser<'t> {
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
    fn any(&mut self) -> Result<(), String> {
        self.all()?;
        while self.eat("||") {
            self.all()?;
        }
        Ok(())
    }

    /// All of several.
    fn all(&mut self) -> Result<(), String> {
        self.one()?;
        while self.eat("&&") {
            self.one()?;
        }
        Ok(())
    }

    fn one(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("it has more than {DEPTH_MAX} brackets in brackets"));
        }
        let is_done = match (self.eat("!"), self.eat("(")) {
            (true, false) => self.one(),
            (true, true) | (false, true) => self.any().and_then(|()| self.expect(")")),
            (false, false) => self.comparison(),
        };
        self.depth -= 1;
        is_done
    }

    /// `Function(1, 2) > 3`; one that says yes or no may stand alone.
    fn comparison(&mut self) -> Result<(), String> {
        let name = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
        let known = self.functions.iter().find(|(known, _)| *known == name);
        let Some((_, count)) = known else {
            let names: Vec<&str> = self.functions.iter().map(|(name, _)| *name).collect();
            return Err(format!("\"{name}\" is no function; there are {}", names.join(", ")));
        };
        self.expect("(")?;
        for number in 0..*count {
            if number > 0 {
                self.expect(",")?;
            }
            self.number()?;
        }
        self.expect(")")?;
        let operators = [">=", "<=", "==", "!=", ">", "<"];
        if !operators.into_iter().any(|operator| self.eat(operator)) {
            let is_truth = name.starts_with("Is");
            return match is_truth {
                true => Ok(()),
                false => Err(format!("{name}() is compared with nothing; write {name}() > 0.5")),
            };
        }
        if self.eat("\"") {
            self.take(|c| c != '"');
            return self.expect("\"");
        }
        self.number()
    }

    fn number(&mut self) -> Result<(), String> {
        let number = self.take(|c| c.is_ascii_digit() || c == '.' || c == '-');
        match number.parse::<f64>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("\"{number}{}\" stands where a number should be", self.rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expressions_of_the_documentation_are_good() {
        for text in [
            "NetworkErrorRatio() > 0.5",
            "LatencyAtQuantileMS(50.0) > 50",
            "ResponseCodeRatio(500, 600, 0, 600) > 0.5",
            "NetworkErrorRatio()>0.5||LatencyAtQuantileMS(50.0)>100",
            "!(NetworkErrorRatio() >= 0.3 && ResponseCodeRatio(500,600,0,600) == 1)",
        ] {
            assert_eq!(check(text, BREAKER), Ok(()), "{text}");
        }
        for text in [
            "IsNetworkError() && Attempts() <= 2",
            "IsNetworkError()",
            "RequestMethod() == \"GET\"",
        ] {
            assert_eq!(check(text, RETRY), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            ("", "no function"),
            ("NetworkErrorRatio > 0.5", "\"(\" should be"),
            ("NetworkErorRatio() > 0.5", "there are NetworkErrorRatio"),
            ("NetworkErrorRatio() > x", "a number should be"),
            ("NetworkErrorRatio()", "compared with nothing"),
            ("LatencyAtQuantileMS() > 1", "a number should be"),
            ("(NetworkErrorRatio() > 1", "ends where"),
            ("NetworkErrorRatio() > 1 )", "does not belong"),
            ("IsNetworkError()", "no function"),
        ] {
            let why = check(text, BREAKER).expect_err(text);
            assert!(why.contains(word), "{text}: {why}");
        }
        assert!(check(&"(".repeat(10_000), BREAKER).is_err());
        assert!(check(&"!".repeat(10_000), BREAKER).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text in "[A-Za-z()<>=!&|0-9., \"]{0,40}") {
            let _ = check(&text, BREAKER);
            let _ = check(&text, RETRY);
        }
    }
}
