//! The port in an address that somebody wrote.

use http::uri::Authority;

/// The port that an authority names; none where it names none.
///
/// Of `a:99999` and of `a` alike [`Authority::port_u16`] says that there is none; whoever wrote the former meant one.
///
/// # Errors
/// A clause without a full stop that says what is wrong with it.
pub fn port_of(authority: &Authority) -> Result<Option<u16>, String> {
    let text = authority.as_str();
    // A password and an IPv6 address have colons of their own.
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let host = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    let Some((_, port)) = host.split_once(':').filter(|(_, port)| !port.is_empty()) else {
        return Ok(None);
    };
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(number @ 1..) if is_number => Ok(Some(number)),
        _ => Err(format!("\"{port}\" is not a port from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<Option<u16>, &str>) {
        let authority = text.parse().expect("an authority");
        assert_eq!(
            port_of(&authority).as_ref().map_err(String::as_str),
            expected.as_ref().map_err(|why| *why)
        );
    }

    #[test]
    fn a_port_is_one_or_is_told() {
        check("a", Ok(None));
        check("a:", Ok(None));
        check("a:80", Ok(Some(80)));
        check("a:65535", Ok(Some(65535)));
        check("[::1]", Ok(None));
        check("[::1]:8080", Ok(Some(8080)));
        check("u:99999@a", Ok(None));
        check("u:p@[::1]:1", Ok(Some(1)));
        for (text, port) in [
            ("a:99999", "99999"),
            ("a:abc", "abc"),
            ("a:-1", "-1"),
            ("a:0", "0"),
            ("u:1@[::1]:+80", "+80"),
        ] {
            check(text, Err(&format!("\"{port}\" is not a port from 1 to 65535")));
        }
    }
}
