//! The variables of the catalog entries: what a drop-in on Rancher is handed.

use std::str::FromStr;

use super::typed::{Admin, Typed, duration, network};
use super::{Listen, Refresh};

/// Puts what one variable says into the settings, where nothing else has.
type Apply = fn(&mut Typed, &str) -> Result<(), String>;

/// The variables that are acted on. An empty value is as good as none.
const SERVED: &[(&str, Apply)] = &[
    ("TRAEFIK_HTTP_PORT", |typed, value| set(&mut typed.http, port(value))),
    ("TRAEFIK_ADMIN_PORT", |typed, value| set(&mut typed.admin, port(value).map(Admin::At))),
    ("TRAEFIK_ADMIN_ENABLE", |typed, value| match boolean(value)? {
        true => Ok(()),
        false => set(&mut typed.admin, Ok(Admin::Off)),
    }),
    ("CONF_INTERVAL", |typed, value| set(&mut typed.refresh, Refresh::from_str(value))),
    ("TRAEFIK_RANCHER_ENABLE", |typed, value| set(&mut typed.rancher, boolean(value))),
    ("TRAEFIK_RANCHER_DOMAIN", |typed, value| set(&mut typed.rancher_domain, Ok(value.to_owned()))),
    ("TRAEFIK_TRUSTEDIPS", |typed, value| {
        let networks = value.split(',').map(|text| network(text.trim().trim_matches('"')));
        set(&mut typed.trusted_ips, networks.collect())
    }),
    ("TRAEFIK_INSECURE_SKIP", |typed, value| set(&mut typed.insecure_skip_verify, boolean(value))),
    ("TRAEFIK_TIMEOUT_DIAL", |typed, value| set(&mut typed.connect_timeout, duration(value))),
    ("TRAEFIK_TIMEOUT_HEADER", |typed, value| match duration(value)? {
        // 0 means no limit there; here everything has one, and the default stands.
        time if time.is_zero() => Ok(()),
        time => set(&mut typed.response_timeout, Ok(time)),
    }),
    ("TRAEFIK_TIMEOUT_IDLE", |typed, value| match duration(value)? {
        time if time.is_zero() => Ok(()),
        time => set(&mut typed.idle_timeout, Ok(time)),
    }),
    ("TRAEFIK_CONSTRAINTS", |typed, value| set(&mut typed.constraints, value.parse())),
];

/// Variables that are known, and why nothing follows from them yet. Those whose value here is the entry's default
/// are passed over in silence.
const LATER: &[(&str, &str, &str)] = &[
    ("TRAEFIK_HTTPS_ENABLE", "false", "HTTPS is not served yet"),
    ("TRAEFIK_ADMIN_SSL", "false", "HTTPS is not served yet"),
    (
        "TRAEFIK_ADMIN_AUTH_USERS",
        "",
        "the admin side has no authentication yet; bind it to an address of trust",
    ),
    ("TRAEFIK_ACME_ENABLE", "false", "certificates are not asked for yet"),
    ("TRAEFIK_HTTP_COMPRESSION", "false", "compression is not there yet"),
    ("TRAEFIK_METRICS_EXPORTER", "", "metrics are always at /metrics, for Prometheus"),
];

/// Fills in what neither flag nor `HERDER_` variable said. Returns a sentence for each variable that is known and
/// not acted on.
///
/// # Errors
/// A sentence that names the variable, its value, and what would be right.
pub fn fill_in(
    typed: &mut Typed,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, String> {
    let value_of =
        |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
    for (name, apply) in SERVED {
        if let Some(value) = value_of(name) {
            apply(typed, &value).map_err(|why| format!("{name}: {why}"))?;
        }
    }
    let later = LATER.iter().filter_map(|(name, default, why)| {
        let value = value_of(name)?;
        (value != *default).then(|| format!("{name} is left out: {why}"))
    });
    Ok(later.collect())
}

/// What was said before stays; what was not is read, and a wrong value is an error only then.
fn set<T>(slot: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    if slot.is_none() {
        *slot = Some(value?);
    }
    Ok(())
}

fn port(value: &str) -> Result<Listen, String> {
    let port = value.parse::<u16>().ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| format!("\"{value}\" is not a port; write 8080"))?;
    Ok(Listen { ip: None, port })
}

fn boolean(value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("\"{value}\" is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn filled(typed: &mut Typed, variables: &[(&str, &str)]) -> Result<Vec<String>, String> {
        fill_in(typed, |name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn the_article_s_entry_is_understood() {
        let mut typed = Typed::default();
        let variables = [
            ("TRAEFIK_HTTP_PORT", "9080"),
            ("TRAEFIK_HTTPS_PORT", "8443"),
            ("TRAEFIK_ADMIN_PORT", "9000"),
            ("CONF_INTERVAL", "30"),
            ("TRAEFIK_RANCHER_ENABLE", "true"),
        ];
        assert_eq!(filled(&mut typed, &variables), Ok(vec![]));
        let settings = typed.meant().expect("they fit together");
        assert_eq!(settings.http.to_string(), ":9080");
        assert_eq!(settings.admin.map(|a| a.to_string()).as_deref(), Some(":9000"));
        assert_eq!(settings.refresh, Refresh::Every(Duration::from_secs(30)));
        assert!(typed.names_a_provider());
    }

    #[test]
    fn what_was_said_goes_first() {
        let http = Listen { ip: None, port: 1 };
        let mut typed = Typed { http: Some(http), ..Typed::default() };
        assert_eq!(filled(&mut typed, &[("TRAEFIK_HTTP_PORT", "9080")]), Ok(vec![]));
        assert_eq!(typed.http, Some(http));
    }

    #[test]
    fn a_wrong_value_is_named() {
        let wrong = filled(&mut Typed::default(), &[("CONF_INTERVAL", "often")]);
        let why = wrong.expect_err("not a time");
        assert!(why.starts_with("CONF_INTERVAL: \"often\""), "{why}");
    }

    #[test]
    fn what_is_not_there_yet_is_said() {
        let said = filled(&mut Typed::default(), &[("TRAEFIK_ACME_ENABLE", "true")]);
        assert_eq!(said.expect("known").len(), 1);
        let said = filled(&mut Typed::default(), &[("TRAEFIK_ACME_ENABLE", "false")]);
        assert_eq!(said.expect("known").len(), 0);
    }
}
