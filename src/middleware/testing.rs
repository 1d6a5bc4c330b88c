//! What the tests of several steps need.

use crate::model::Head;

/// A head of one line, whose name is in lower case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line(pub(super) &'static str, pub(super) &'static str);

impl Head for Line {
    fn header(&self, name: &str) -> Option<&[u8]> {
        (name == self.0).then_some(self.1.as_bytes())
    }

    fn has_line(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.header(name).is_some_and(test)
    }

    fn each_line(&self, see: &mut dyn FnMut(&str, &[u8])) {
        see(self.0, self.1.as_bytes());
    }
}

/// A head of these lines, whose names are in lower case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines<'a>(pub(super) &'a [(&'a str, &'a str)]);

impl Head for Lines<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        let line = self.0.iter().find(|(own, _)| *own == name);
        line.map(|(_, value)| value.as_bytes())
    }

    fn has_line(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.iter().any(|(own, value)| *own == name && test(value.as_bytes()))
    }

    fn each_line(&self, see: &mut dyn FnMut(&str, &[u8])) {
        self.0.iter().for_each(|(name, value)| see(name, value.as_bytes()));
    }
}
