//! The way from a label to a route, step by step: written down by whoever decides, when somebody asks.

/// One step on the way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// Whether the way goes on.
    pub outcome: Outcome,
    /// What was looked at: `traefik.enable`, `health`, `address` …
    pub what: String,
    /// What was found, and what follows: a sentence.
    pub why: String,
}

/// Whether the way goes on after a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It does.
    Pass,
    /// It does, with something its owner may like to know.
    Note,
    /// It ends here.
    Stop,
}

impl Outcome {
    /// `pass`, `note` or `stop`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Note => "note",
            Self::Stop => "stop",
        }
    }
}

/// Takes the steps down, or lets them go by: reading ten thousand services for a table needs none of them.
#[derive(Debug, Default)]
pub struct Trace {
    steps: Option<Vec<(Scope, Step)>>,
}

/// What a step is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// The service as a whole.
    Service,
    /// One of its instances, by its place in the list.
    Instance(usize),
}

impl Trace {
    /// A trace that lets everything go by.
    pub fn off() -> Self {
        Self { steps: None }
    }

    /// A trace that takes everything down.
    pub fn on() -> Self {
        Self { steps: Some(Vec::new()) }
    }

    /// Takes one step down; `why` is asked only where somebody listens.
    pub fn step(
        &mut self,
        scope: Scope,
        outcome: Outcome,
        what: &str,
        why: impl FnOnce() -> String,
    ) {
        if let Some(steps) = &mut self.steps {
            steps.push((scope, Step { outcome, what: what.to_owned(), why: why() }));
        }
    }

    /// The steps of the service as a whole, then those of one instance.
    pub fn of(&self, instance: Option<usize>) -> Vec<Step> {
        let wanted = |scope: &Scope| match scope {
            Scope::Service => true,
            Scope::Instance(place) => Some(*place) == instance,
        };
        let steps = self.steps.iter().flatten();
        steps.filter(|(scope, _)| wanted(scope)).map(|(_, step)| step.clone()).collect()
    }
}
