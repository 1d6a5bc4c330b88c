//! The host of a service, as a handlebars template over `service`, `stack` and `domain`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use handlebars::{Handlebars, no_escape};
use serde::Serialize;

/// Turns the names of a service into its host. A part that is empty vanishes together with its dot.
#[derive(Clone)]
pub struct HostTemplate {
    text: Arc<str>,
    /// None for the default, which nearly everybody has: its parts are put together without a template engine.
    engine: Option<Arc<Handlebars<'static>>>,
}

/// What a template may name.
#[derive(Serialize)]
pub struct HostParts<'p> {
    /// The service's name.
    pub service: &'p str,
    /// Its stack or project; empty where it has none.
    pub stack: &'p str,
    /// One domain; empty where none is set.
    pub domain: &'p str,
}

/// The name of the one template within the engine.
const NAME: &str = "host template";

impl HostTemplate {
    /// The template unless another is set.
    pub const DEFAULT: &'static str = "{{service}}.{{stack}}.{{domain}}";

    /// The host, in lower case.
    ///
    /// # Errors
    /// A sentence without a full stop: the template cannot be filled in.
    pub fn render(&self, parts: &HostParts<'_>) -> Result<String, String> {
        let host = match &self.engine {
            Some(engine) => engine.render(NAME, parts).map_err(|error| error.to_string())?,
            None => [parts.service, parts.stack, parts.domain].join("."),
        };
        let parts: Vec<&str> = host.split('.').map(str::trim).filter(|p| !p.is_empty()).collect();
        Ok(parts.join(".").to_lowercase())
    }
}

impl FromStr for HostTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == Self::DEFAULT {
            return Ok(Self::default());
        }
        let mut engine = Handlebars::new();
        engine.set_strict_mode(true);
        // A host is no HTML; what cannot be in a host is refused when the host is read.
        engine.register_escape_fn(no_escape);
        engine
            .register_template_string(NAME, text)
            .map_err(|error| format!("host template \"{text}\" cannot be read: {error}"))?;
        let template = Self { text: text.into(), engine: Some(Arc::new(engine)) };
        let example = HostParts { service: "web", stack: "shop", domain: "local" };
        match template.render(&example) {
            Ok(host) if !host.is_empty() => Ok(template),
            Ok(_) => Err(format!("host template \"{text}\" makes an empty host")),
            Err(why) => Err(format!("{why}; a template may name service, stack and domain")),
        }
    }
}

impl Default for HostTemplate {
    fn default() -> Self {
        Self { text: Self::DEFAULT.into(), engine: None }
    }
}

impl fmt::Display for HostTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for HostTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostTemplate({:?})", self.text)
    }
}

impl PartialEq for HostTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for HostTemplate {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, [service, stack, domain]: [&str; 3], expected: &str) {
        let parts = HostParts { service, stack, domain };
        // The same once more, by the engine in any case.
        for text in [template, &format!("{template} ")] {
            let template: HostTemplate = text.parse().expect(text);
            assert_eq!(template.render(&parts).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn empty_parts_vanish_with_their_dot() {
        let default = HostTemplate::DEFAULT;
        check(default, ["web-test", "proxy-test", "local"], "web-test.proxy-test.local");
        check(default, ["web", "", "local"], "web.local");
        check(default, ["Web", "Shop", ""], "web.shop");
        check(default, [" a .b.", "..", "c."], "a.b.c");
        check("{{service}}-{{stack}}.{{domain}}", ["web", "shop", "a.b"], "web-shop.a.b");
        check("{{service}}.{{domain}}", ["a&b", "", "x"], "a&b.x");
    }

    #[test]
    fn a_bad_template_is_refused_when_it_is_read() {
        for bad in ["{{service", "{{name}}", "", "{{#if}}", "."] {
            assert!(bad.parse::<HostTemplate>().is_err(), "{bad}");
        }
    }
}
