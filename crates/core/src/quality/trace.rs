//! Where the time of a profiled run went: self time of the busiest thread, by component and category.
//!
//! A component is the outermost annotation around an event (`record_function("preprocess")`); a step marker
//! (`ProfilerStep#7`) is none. A category is what the innermost event does. Time in no event at all is unknown.

use std::collections::{BTreeMap, HashMap};

/// Events beyond this are refused, so that memory stays bounded: 32 bytes each.
pub const MAX_EVENTS: usize = 4_000_000;
/// Different names beyond this share one.
const MAX_NAMES: usize = 65_536;
/// Microseconds, either side of 0, that a time of an event may be: of the year 2286 where the writer counts from 1970.
/// Beyond, sums of times are no numbers any more.
const MAX_TIME: f64 = 1e16;
/// A trace with more steps is cut into slices, as one without any.
const MAX_STEPS: usize = 100_000;
/// Values that all parts together may have, 8 bytes each. Components beyond share one.
const MAX_VALUES: usize = 4_000_000;
/// The component of what is beyond [`MAX_VALUES`].
const OTHER: &str = "(other)";
/// Slices of a trace without step markers.
const SLICES: usize = 30;
/// Fewest steps by which a trace is cut.
const ENOUGH_STEPS: usize = 5;

/// What the time of an event was spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// Waiting for files, sockets or a data loader.
    IoWait,
    /// Waiting to launch kernels.
    KernelStall,
    /// Waiting for the GPU to be done.
    CudaSync,
    /// Copying between host and device.
    Memcpy,
    /// Allocation that missed the allocator's cache, and other cache misses.
    CacheMiss,
    /// Work.
    Compute,
    /// No event says.
    Unknown,
}

impl Category {
    /// As the report prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoWait => "I/O wait",
            Self::KernelStall => "kernel stall",
            Self::CudaSync => "CUDA sync",
            Self::Memcpy => "memcpy",
            Self::CacheMiss => "cache miss",
            Self::Compute => "compute",
            Self::Unknown => "unknown",
        }
    }

    /// By the name and category that torch.profiler (Kineto) and other writers of Chrome traces give.
    pub fn of(category: &str, name: &str) -> Self {
        let (category, name) = (category.to_ascii_lowercase(), name.to_ascii_lowercase());
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        if has(&["synchronize", "streamwaitevent", "eventquery"]) {
            Self::CudaSync
        } else if category.contains("memcpy")
            || category.contains("memset")
            || has(&["memcpy", "memset", "aten::copy_"])
        {
            Self::Memcpy
        } else if has(&["cudalaunch", "culaunch", "graphlaunch", "hiplaunch"]) {
            Self::KernelStall
        } else if has(&[
            "cudamalloc",
            "cudafree",
            "cudahostalloc",
            "cache_miss",
            "cache miss",
            "cachemiss",
        ]) {
            Self::CacheMiss
        } else if has(&[
            "dataloader",
            "recv",
            "socket",
            "read(",
            "write(",
            "open(",
            "i/o",
            "io_wait",
            "fetch",
        ]) || category.contains("io")
            && !category.contains("operation")
            && !category.contains("function")
            && !category.contains("annotation")
        {
            Self::IoWait
        } else if category.contains("annotation") {
            Self::Unknown
        } else {
            Self::Compute
        }
    }
}

/// One complete event of a trace, times in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its category in the file.
    pub category: &'a str,
    /// Process and thread, as one text.
    pub thread: &'a str,
    /// When it began.
    pub start: f64,
    /// How long it took.
    pub duration: f64,
}

#[derive(Clone, Copy, Debug)]
struct Compact {
    start: f64,
    end: f64,
    name: u32,
    thread: u32,
}

#[derive(Debug, Default)]
struct Names {
    known: HashMap<String, u32>,
    list: Vec<(String, Category, Role)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Step,
    Component,
    Work,
}

/// Collects the events of a trace in bounded memory, in any order.
#[derive(Debug, Default)]
pub struct Builder {
    events: Vec<Compact>,
    names: Names,
    threads: HashMap<String, u32>,
}

/// Why a trace cannot be attributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// Too many events.
    #[error("more than {MAX_EVENTS} events")]
    TooMany,
    /// No complete event.
    #[error("no complete event (ph \"X\") with a duration")]
    Empty,
    /// A time that cannot be.
    #[error("event {0}: its time or duration is no number of microseconds that can be, or negative")]
    Time(usize),
}

impl Builder {
    /// Takes one complete event.
    pub fn add(&mut self, event: &Event<'_>) -> Result<(), TraceError> {
        let end = event.start + event.duration;
        if !(event.start >= -MAX_TIME && end <= MAX_TIME && event.duration >= 0.0) {
            return Err(TraceError::Time(self.events.len()));
        }
        if self.events.len() >= MAX_EVENTS {
            return Err(TraceError::TooMany);
        }
        let next = self.threads.len() as u32;
        let thread = match self.threads.get(event.thread) {
            Some(thread) => *thread,
            None => *self.threads.entry(event.thread.to_owned()).or_insert(next),
        };
        let name = self.names.of(event.category, event.name);
        self.events.push(Compact {
            start: event.start,
            end,
            name,
            thread,
        });
        Ok(())
    }

    /// The attribution of the busiest thread. Threads that only hold annotations of the GPU's timeline do not
    /// count as busier than one that holds the steps.
    pub fn finish(mut self) -> Result<Attribution, TraceError> {
        let thread = self.busiest().ok_or(TraceError::Empty)?;
        self.events.retain(|event| event.thread == thread);
        // Parents before children: by start, the longer first.
        self.events.sort_by(|a, b| {
            a.start
                .total_cmp(&b.start)
                .then(b.end.total_cmp(&a.end))
                .then(a.name.cmp(&b.name))
        });
        let begin = self.events.first().map_or(0.0, |event| event.start);
        let end = self.events.iter().map(|event| event.end).fold(begin, f64::max);
        if end <= begin {
            return Err(TraceError::Empty);
        }
        Ok(sweep(&self.events, &self.names, begin, end))
    }

    fn busiest(&self) -> Option<u32> {
        let mut busy: BTreeMap<u32, (bool, f64)> = BTreeMap::new();
        let mut reached: HashMap<u32, f64> = HashMap::new();
        for event in &self.events {
            let entry = busy.entry(event.thread).or_default();
            entry.0 |= self.names.list[event.name as usize].2 == Role::Step;
            // An upper bound is enough to choose by: parents overlap their children.
            let last = reached.entry(event.thread).or_insert(f64::NEG_INFINITY);
            entry.1 += (event.end - event.start.max(*last)).max(0.0);
            *last = last.max(event.end);
        }
        busy.into_iter()
            .max_by(|(first, a), (second, b)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(second.cmp(first)))
            .map(|(thread, _)| thread)
    }
}

impl Names {
    fn of(&mut self, category: &str, name: &str) -> u32 {
        let short: String = name.chars().take(120).collect();
        let key = format!("{category}\u{0}{short}");
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let role = if name.starts_with("ProfilerStep") {
            Role::Step
        } else if category.contains("annotation") {
            Role::Component
        } else {
            Role::Work
        };
        let class = Category::of(category, name);
        if self.list.len() >= MAX_NAMES {
            let other = self
                .list
                .iter()
                .position(|(name, known, _)| name == OTHER && *known == class);
            return other.unwrap_or_else(|| {
                self.list.push((OTHER.to_owned(), class, Role::Work));
                self.list.len() - 1
            }) as u32;
        }
        let id = self.list.len() as u32;
        self.list.push((short, class, role));
        self.known.insert(key, id);
        id
    }
}

/// Where the time went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attribution {
    /// Microseconds by component and category, one value a step (or slice of the trace).
    pub parts: BTreeMap<(String, Category), Vec<f64>>,
    /// Microseconds of each step.
    pub steps: Vec<f64>,
    /// Self time in microseconds by stack, outermost first, `;` between: what a flame graph is drawn from.
    pub stacks: BTreeMap<String, u64>,
}

/// What is printed for time that belongs to no named component.
pub const UNKNOWN_COMPONENT: &str = "Unknown";

fn sweep(events: &[Compact], names: &Names, begin: f64, end: f64) -> Attribution {
    let mut starts: Vec<f64> = events
        .iter()
        .filter(|event| names.list[event.name as usize].2 == Role::Step)
        .map(|event| event.start)
        .collect();
    if (ENOUGH_STEPS..=MAX_STEPS).contains(&starts.len()) {
        // What comes before the first step belongs to it.
        starts[0] = begin;
    } else {
        let width = (end - begin) / SLICES as f64;
        starts = (0..SLICES).map(|slice| begin + slice as f64 * width).collect();
    }
    let mut sums = Sums {
        steps: vec![0.0; starts.len()],
        starts,
        parts: BTreeMap::new(),
        stacks: BTreeMap::new(),
        names,
    };
    let mut open: Vec<Compact> = Vec::new();
    let mut at = begin;
    for event in events {
        while let Some(top) = open.last().copied().filter(|top| top.end <= event.start) {
            sums.spend(&open, at, top.end);
            at = at.max(top.end);
            open.pop();
        }
        sums.spend(&open, at, event.start);
        at = at.max(event.start);
        // A child that outlives its parent is cut at the parent's end.
        let limit = open.last().map_or(event.end, |top| top.end);
        open.push(Compact {
            end: event.end.min(limit),
            ..*event
        });
    }
    while let Some(top) = open.last().copied() {
        sums.spend(&open, at, top.end);
        at = at.max(top.end);
        open.pop();
    }
    Attribution {
        parts: sums.parts,
        steps: sums.steps,
        stacks: sums
            .stacks
            .into_iter()
            .map(|(stack, time)| {
                let frames: Vec<&str> = stack.iter().map(|id| names.list[*id as usize].0.as_str()).collect();
                (frames.join(";"), time.round() as u64)
            })
            .fold(BTreeMap::new(), |mut all, (stack, time)| {
                *all.entry(stack).or_insert(0) += time;
                all
            }),
    }
}

/// Stacks deeper than this are cut: a flame graph shows no more.
const DEEPEST: usize = 64;

struct Sums<'a> {
    starts: Vec<f64>,
    steps: Vec<f64>,
    parts: BTreeMap<(String, Category), Vec<f64>>,
    stacks: BTreeMap<Vec<u32>, f64>,
    names: &'a Names,
}

impl Sums<'_> {
    /// The innermost open event spends the time from `from` to `to`.
    fn spend(&mut self, open: &[Compact], from: f64, to: f64) {
        if to <= from {
            return;
        }
        let known = |event: &Compact| &self.names.list[event.name as usize];
        let annotated = open.iter().map(known).find(|name| name.2 == Role::Component);
        let innermost = open.last().map(known);
        let category = innermost.map_or(Category::Unknown, |name| match name.2 {
            Role::Work => name.1,
            Role::Step | Role::Component => Category::Unknown,
        });
        let component = match (annotated, category) {
            (Some(name), _) => name.0.clone(),
            (None, Category::Unknown) => UNKNOWN_COMPONENT.to_owned(),
            // Without annotations the outermost event names the component.
            (None, _) => open
                .iter()
                .map(known)
                .find(|name| name.2 == Role::Work)
                .map_or_else(|| UNKNOWN_COMPONENT.to_owned(), |name| name.0.clone()),
        };
        let count = self.starts.len();
        let mut part = (component, category);
        if self.parts.len() * count >= MAX_VALUES && !self.parts.contains_key(&part) {
            OTHER.clone_into(&mut part.0);
        }
        let stack: Vec<u32> = open.iter().take(DEEPEST).map(|event| event.name).collect();
        if !stack.is_empty() {
            *self.stacks.entry(stack).or_default() += to - from;
        }
        let mut step = self.starts.partition_point(|start| *start <= from).saturating_sub(1);
        let mut from = from;
        while from < to {
            let until = self.starts.get(step + 1).map_or(to, |next| next.min(to));
            let spent = until - from;
            self.steps[step] += spent;
            self.parts.entry(part.clone()).or_insert_with(|| vec![0.0; count])[step] += spent;
            from = until;
            step += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &'static str, category: &'static str, start: f64, duration: f64) -> Event<'static> {
        Event {
            name,
            category,
            thread: "1/1",
            start,
            duration,
        }
    }

    fn total(attribution: &Attribution, component: &str, category: Category) -> f64 {
        attribution
            .parts
            .get(&(component.to_owned(), category))
            .map_or(0.0, |steps| steps.iter().sum())
    }

    #[test]
    fn self_time_goes_to_the_innermost_event_and_gaps_are_unknown() {
        let mut builder = Builder::default();
        // Children come before their parents in the file: order does not matter.
        for event in [
            event("cudaStreamSynchronize", "cuda_runtime", 40.0, 20.0),
            event("aten::mm", "cpu_op", 10.0, 30.0),
            event("inference", "user_annotation", 0.0, 80.0),
            event("aten::copy_", "cpu_op", 90.0, 10.0),
        ] {
            builder.add(&event).unwrap();
        }
        let attribution = builder.finish().unwrap();
        assert!((total(&attribution, "inference", Category::Compute) - 30.0).abs() < 1e-9);
        assert!((total(&attribution, "inference", Category::CudaSync) - 20.0).abs() < 1e-9);
        assert!((total(&attribution, "inference", Category::Unknown) - 30.0).abs() < 1e-9);
        assert!((total(&attribution, "aten::copy_", Category::Memcpy) - 10.0).abs() < 1e-9);
        assert!((total(&attribution, UNKNOWN_COMPONENT, Category::Unknown) - 10.0).abs() < 1e-9);
        assert!((attribution.steps.iter().sum::<f64>() - 100.0).abs() < 1e-9);
        assert_eq!(attribution.stacks["inference;aten::mm"], 30);
    }

    #[test]
    fn a_trace_with_steps_is_cut_at_them() {
        let mut builder = Builder::default();
        for step in 0..6 {
            let start = f64::from(step) * 100.0;
            builder
                .add(&event("ProfilerStep#1", "user_annotation", start, 90.0))
                .unwrap();
            builder
                .add(&event("aten::mm", "cpu_op", start + 5.0, 60.0 + f64::from(step)))
                .unwrap();
        }
        let attribution = builder.finish().unwrap();
        assert_eq!(attribution.steps.len(), 6);
        assert_eq!(
            attribution.parts[&("aten::mm".to_owned(), Category::Compute)],
            [60.0, 61.0, 62.0, 63.0, 64.0, 65.0]
        );
    }

    #[test]
    fn names_of_profilers_have_their_categories() {
        for (category, name, expected) in [
            ("cuda_runtime", "cudaDeviceSynchronize", Category::CudaSync),
            ("gpu_memcpy", "Memcpy HtoD (Pageable -> Device)", Category::Memcpy),
            ("cuda_runtime", "cudaLaunchKernel", Category::KernelStall),
            ("cuda_runtime", "cudaMalloc", Category::CacheMiss),
            (
                "cpu_op",
                "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__",
                Category::IoWait,
            ),
            ("cpu_op", "aten::addmm", Category::Compute),
            ("python_function", "model.py(12): forward", Category::Compute),
            ("user_annotation", "preprocess", Category::Unknown),
        ] {
            assert_eq!(Category::of(category, name), expected, "{name}");
        }
    }

    #[test]
    fn a_trace_of_many_steps_and_components_takes_no_more_memory_than_its_bound() {
        let mut builder = Builder::default();
        for step in 0..30_000_i32 {
            let start = f64::from(step) * 10.0;
            builder
                .add(&event("ProfilerStep#1", "user_annotation", start, 9.0))
                .unwrap();
            let name = format!("component {}", step % 1_000);
            let of_step = Event {
                name: &name,
                ..event("", "user_annotation", start + 1.0, 5.0)
            };
            builder.add(&of_step).unwrap();
        }
        let attribution = builder.finish().unwrap();
        let values: usize = attribution.parts.values().map(Vec::len).sum();
        assert!(values <= MAX_VALUES + 7 * attribution.steps.len(), "{values}");
        assert!((attribution.steps.iter().sum::<f64>() - 299_999.0).abs() < 1e-3);
    }

    #[test]
    fn a_trace_without_time_is_an_error() {
        assert_eq!(Builder::default().finish(), Err(TraceError::Empty));
        let mut builder = Builder::default();
        assert!(builder.add(&event("x", "cpu_op", f64::NAN, 1.0)).is_err());
        assert!(builder.add(&event("x", "cpu_op", 0.0, -1.0)).is_err());
        assert!(builder.add(&event("x", "cpu_op", 1e308, 1.0)).is_err());
        assert!(builder.add(&event("x", "cpu_op", -1e308, 1e308)).is_err());
        builder.add(&event("x", "cpu_op", 1.0, 0.0)).unwrap();
        assert_eq!(builder.finish(), Err(TraceError::Empty));
    }
}
