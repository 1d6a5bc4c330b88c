//! Whether those who shall get in at the entry points and the admin side can: what was fixed at start does not get better by
//! itself, so `run` refuses what would let nobody in.

use super::secrets::{HOW_TO_WRITE, LINES_TOLD_MAX, mend, read};
use crate::config::Auth;
use crate::config::guards::{GuardFile, InvalidGuard, files_of, invalid_auth};
use crate::middleware::auth::BadLine;
use crate::middleware::check_replacement;
use crate::rules::expression;
use crate::settings::{EntryAuth, EntryRedirect, Settings};
use crate::table::auth_of_entry;

/// Something that is wrong with a guard of the settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Invalid {
    /// The entry point that has it; none: the admin side.
    pub entrypoint: Option<String>,
    /// Where, below the entry point: `auth.basic.users`.
    pub key: &'static str,
    /// What, and what to do: sentences.
    pub text: String,
    /// Whether it must not be so at the start.
    pub is_fatal: bool,
}

/// What is wrong with the guards of all entry points that are opened, and of the admin side, and with the redirects that stand
/// before everything. Reads the files they name.
pub fn invalid(settings: &Settings) -> Vec<Invalid> {
    let entrypoints = settings.open_entrypoints().flat_map(|entrypoint| {
        let whose = Whose { entrypoint: Some(&entrypoint.name), shown: entrypoint.to_string() };
        let auth = entrypoint.auth.as_deref().map(|auth| whose.invalid(auth));
        let redirect = entrypoint.redirect.as_ref().map(|redirect| whose.redirect(redirect));
        auth.into_iter().chain(redirect).flatten().collect::<Vec<_>>()
    });
    let admin = settings.admin_auth.as_deref().filter(|_| settings.admin.is_some());
    let admin = admin.map(|auth| Whose { entrypoint: None, shown: String::new() }.invalid(auth));
    entrypoints.chain(admin.into_iter().flatten()).collect()
}

/// The entry point or the admin side.
struct Whose<'a> {
    entrypoint: Option<&'a str>,
    shown: String,
}

impl Whose<'_> {
    fn invalid(&self, auth: &EntryAuth) -> Vec<Invalid> {
        let auth = auth_of_entry(auth);
        let flags =
            invalid_auth(&auth).into_iter().map(|InvalidGuard { key, what, hint, .. }| {
                self.says(key, &format!("{what}. {hint}"), true)
            });
        let files = files_of(&auth).into_iter().flat_map(|file| self.file(&auth, &file));
        flags.chain(files).collect()
    }

    /// What is wrong with a redirect to another URL, by what reads it for each request: nobody would come in.
    fn redirect(&self, redirect: &EntryRedirect) -> Vec<Invalid> {
        let EntryRedirect { regex, replacement, .. } = redirect;
        let says = |key: &'static str, what: String| self.says(key, &what, true);
        let regex = expression(regex).err().map(|why| {
            says(
                "redirect.regex",
                format!("\"{regex}\" cannot be read: {why}. Mend the expression."),
            )
        });
        let replacement = check_replacement(replacement).err().map(|why| {
            let hint = "Write $1 or ${name} for what the expression found.";
            says("redirect.replacement", format!("\"{replacement}\" {why}. {hint}"))
        });
        regex.into_iter().chain(replacement).collect()
    }

    /// What is wrong with a file now. It may change while Herder runs: one line of several is no reason not to start.
    fn file(&self, auth: &Auth, file: &GuardFile<'_>) -> Vec<Invalid> {
        let (key, path) = (file.key, file.path);
        let text = match read(path) {
            Ok(text) => text,
            Err(why) => {
                let what =
                    format!("names the file {path}, which cannot be read: {why}. {}.", mend(&why));
                return vec![self.says(key, &what, true)];
            }
        };
        let Some(lines) = file.users else { return Vec::new() };
        let (knows_users, bad) = lines.read(&text);
        let line = |bad: &BadLine| {
            let (number, user, why) = (bad.number, bad.shown_user(), &bad.why);
            let what = format!(
                "names the file {path}, whose line {number}{user} lets nobody in: {why}. {}",
                bad.hint
            );
            self.says(key, &what, false)
        };
        let mut found: Vec<Invalid> = bad.iter().take(LINES_TOLD_MAX).map(line).collect();
        let own = [&auth.basic, &auth.digest].into_iter().flatten();
        if !knows_users && own.map(|users| users.users.len()).sum::<usize>() == 0 {
            let what = format!("names the file {path}, which knows no user. {HOW_TO_WRITE}");
            found.push(self.says(key, &what, true));
        }
        found
    }

    fn says(&self, key: &'static str, what: &str, is_fatal: bool) -> Invalid {
        let entrypoint = self.entrypoint.map(str::to_owned);
        let text = match (&entrypoint, key.rsplit_once('.')) {
            (None, Some((_, last @ ("users" | "usersFile")))) => format!("admin.{last} {what}"),
            (None, _) => format!("{key} of the admin side {what}"),
            (Some(_), _) => format!("{key} of the entry point {} {what}", self.shown),
        };
        Invalid { entrypoint, key, text, is_fatal }
    }
}
