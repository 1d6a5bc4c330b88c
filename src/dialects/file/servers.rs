//! The servers of a file: where they are, by address or by name.

use std::net::{IpAddr, SocketAddr};

use super::FileReader;
use crate::config::{Scheme, Server, Servers, hide_password};
use crate::dialects::reader::WEIGHT_MAX;
use crate::document::{Node, Place, Table};
use crate::model::{Problem, port_of};

/// The names of servers in a file that have to be looked up.
pub fn server_hosts(tree: &Table) -> Vec<String> {
    let backends = tree.get("backends").and_then(Node::as_table);
    let backends = backends.into_iter().flat_map(Table::entries);
    let servers =
        backends.filter_map(|backend| backend.node.as_table()?.get("servers")?.as_table());
    let urls = servers
        .flat_map(Table::entries)
        .filter_map(|server| server.node.as_table()?.get("url")?.as_text());
    let hosts = urls.filter_map(|url| ServerUrl::parse(url).ok()).map(|url| url.host);
    hosts.filter(|host| host.parse::<IpAddr>().is_err()).collect()
}

/// Where a server is, as it was written.
struct ServerUrl {
    scheme: Scheme,
    /// A name or an address, without brackets.
    host: String,
    port: u16,
    /// What else is in it, which nobody acts on: `a path`.
    idle: Vec<&'static str>,
}

impl ServerUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let shown = hide_password(text);
        let uri: http::Uri =
            text.trim().parse().map_err(|_| format!("\"{shown}\" is not a URL"))?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(other) => {
                return Err(format!("\"{shown}\" asks for {other}, which is not served"));
            }
            None => return Err(format!("\"{shown}\" does not begin with http:// or https://")),
        };
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return Err(format!("\"{shown}\" has no host"));
        }
        let usual = if scheme == Scheme::Https { 443 } else { 80 };
        let port = uri.authority().map(port_of).transpose()?.flatten().unwrap_or(usual);
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        let parts = [
            ("a user", has_user),
            ("a path", uri.path().len() > 1),
            ("a query", uri.query().is_some()),
        ];
        let idle = parts.into_iter().filter(|(_, is_there)| *is_there).map(|(part, _)| part);
        Ok(Self { scheme, host, port, idle: idle.collect() })
    }
}

impl FileReader<'_> {
    pub(super) fn servers(&mut self, name: &str, table: &Table) -> Servers {
        let mut servers = Servers::new();
        let Some(node) = table.get("servers") else { return servers };
        let name = format!("{name}.servers");
        let Some(table) = node.as_table() else {
            self.error(
                node.place,
                format!("{name} is {}; it is left out.", node.sort()),
                "Write a table for each server.",
            );
            return servers;
        };
        for entry in table.entries() {
            let (place, name) = (entry.node.place, format!("{name}.{}", entry.key));
            let Some(table) = entry.node.as_table() else {
                self.error(
                    place,
                    format!("{name} is {}; it is left out.", entry.node.sort()),
                    "Write a table.",
                );
                continue;
            };
            let known = ["url", "weight"];
            for entry in
                table.entries().filter(|e| !known.iter().any(|k| k.eq_ignore_ascii_case(&e.key)))
            {
                self.unknown(entry.node.place, &format!("{name}.{}", entry.key), known.into_iter());
            }
            let Some((at, url)) = self.text(&name, table, "url") else {
                self.error(
                    place,
                    format!("{name} has no url; it is left out."),
                    "Write url = \"http://10.0.0.1:80\".",
                );
                continue;
            };
            let url = match ServerUrl::parse(url) {
                Ok(url) => url,
                Err(why) => {
                    self.error(
                        at,
                        format!("{name}.url: {why}; it is left out."),
                        "Write http://10.0.0.1:80.",
                    );
                    continue;
                }
            };
            self.report_idle(at, &name, &url.idle);
            let literal = url.host.parse::<IpAddr>().ok();
            // A name that is not found is a problem of the provider.
            let Some(ip) = literal.or_else(|| self.document.addresses.get(&url.host).copied())
            else {
                continue;
            };
            let server = Server {
                scheme: url.scheme,
                addr: SocketAddr::new(ip, url.port),
                host: literal.is_none().then(|| url.host.as_str().into()),
                weight: self.weight(&name, table),
                is_weight_said: table.get("weight").is_some(),
                origin: self.origin(place),
            };
            servers.insert(entry.key.as_str().into(), server);
        }
        servers
    }

    /// Says what of a server's URL nobody acts on: requests keep their own path, and clients their own names.
    fn report_idle(&mut self, place: Place, name: &str, idle: &[&str]) {
        if idle.is_empty() {
            return;
        }
        let what = format!("{name}.url has {}, which is not acted on.", idle.join(" and "));
        let hint =
            "Write http://10.0.0.1:80; AddPrefix in a rule puts a path before that of requests.";
        self.reading.problems.push(Problem::warning(&self.origin(place), what).hint(hint));
    }

    fn weight(&mut self, name: &str, table: &Table) -> u32 {
        let Some((place, text)) = self.text(name, table, "weight") else { return 1 };
        let weight = text.parse::<i64>().ok().filter(|weight| (0..=WEIGHT_MAX).contains(weight));
        if weight.is_none() {
            let what = format!(
                "{name}.weight \"{text}\" is not a whole number from 0 to {WEIGHT_MAX}; 1 is used instead."
            );
            self.error(place, what, "");
        }
        weight.and_then(|weight| u32::try_from(weight).ok()).unwrap_or(1)
    }
}
