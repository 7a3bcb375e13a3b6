//! The route of a request: which of the configured templates its path matches.
//!
//! A tree of segments: what a search costs grows with the path, not with the number of templates. The path is taken as it was
//! sent, without the query: no percent-encoding is decoded, and a slash at its end counts. What becomes of a route is not known here.

mod template;

pub use template::{MAX_SEGMENTS, Template, TemplateError};

use template::{Segment, split_first};

/// How many nodes a search looks at. A path that needs more has no route; it takes templates that overlap in ten segments to need so many.
const MAX_STEPS: u32 = 1024;

/// What Envoy's names of routes are: `envoy.route_name_is_template`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteNames {
    /// Names.
    #[default]
    Names,
    /// Templates, if they begin with a slash.
    Templates,
}

/// The templates, as a tree. No two of the same shape are for the same method.
#[derive(Debug, Default)]
pub struct Routes {
    leaves: Vec<Leaf>,
    /// The root, if there are templates, and what is below. A node is named by its index; 0 names none, for the root is below none.
    nodes: Vec<Node>,
    /// The nodes that static segments lead to, by a hash of their parent and that segment.
    places: Vec<usize>, // Invariant: its length is a power of two, or 0; at most half of it is not 0.
    /// The bytes of the longest static segment.
    longest: usize,
    route_names: RouteNames,
}

/// A template at the node where it ends.
#[derive(Debug)]
struct Leaf {
    template: Template,
    /// As `Node::leaves`: the one of the same shape that came before.
    next: usize,
}

/// A place in the tree.
#[derive(Debug, Default)]
struct Node {
    parent: usize,
    /// The template that first led here, and where its segment begins that did.
    template: usize,
    segment: usize,
    /// The node that any segment but an empty one leads to from here.
    parameter: usize,
    /// The node that all that is left of a path leads to from here.
    catch_all: usize,
    /// The last one of the leaves here, by its index and one; 0 if there is none.
    leaves: usize,
}

/// Two templates of the same shape for the same method, by their index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The one that came first.
    pub first: usize,
    /// The other.
    pub second: usize,
}

impl Routes {
    /// These templates.
    ///
    /// # Errors
    /// Two of them have the same shape, and are for the same method.
    pub fn new(templates: Vec<Template>, route_names: RouteNames) -> Result<Self, Conflict> {
        let slashes = |it: &Template| it.text().bytes().filter(|byte| *byte == b'/').count();
        let segments: usize = templates.iter().map(slashes).sum();
        let mut routes = Self { route_names, ..Self::default() };
        if segments > 0 {
            routes.nodes.push(Node::default());
            routes.places.resize(segments.saturating_mul(2).next_power_of_two(), 0);
        }
        for template in templates {
            routes.add(template)?;
        }
        Ok(routes)
    }

    /// Whether there are any templates.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// The route of a request: the template that it matches; else the name of Envoy's route, where that is one.
    #[must_use]
    pub fn of<'a>(&'a self, method: &[u8], path: &[u8], route_name: &'a [u8]) -> Option<&'a str> {
        let of_name = || {
            let are_templates = self.route_names == RouteNames::Templates;
            let is_template = are_templates && route_name.first() == Some(&b'/');
            is_template.then(|| std::str::from_utf8(route_name).ok()).flatten()
        };
        self.matched(method, path).or_else(of_name)
    }

    /// The template that a path matches: at the first segment in which those that match differ, a static segment goes before a
    /// parameter, and that before a catch-all; of those of the same shape, one that names the method goes first.
    #[must_use]
    pub fn matched(&self, method: &[u8], path: &[u8]) -> Option<&str> {
        let mut steps = MAX_STEPS;
        let found = self.search(0, method, path.strip_prefix(b"/")?, &mut steps)?;
        (steps > 0).then(|| found.text())
    }

    /// The template below a node that matches what is left of a path.
    fn search(
        &self,
        node: usize,
        method: &[u8],
        rest: &[u8],
        steps: &mut u32,
    ) -> Option<&Template> {
        *steps = steps.checked_sub(1)?;
        let Node { parameter, catch_all, .. } = self.nodes.get(node)?;
        let (segment, after) = split_first(rest);
        let known = if segment.len() <= self.longest { self.known(node, segment) } else { 0 };
        let any = if segment.is_empty() { 0 } else { *parameter };
        for child in [known, any] {
            let found = match after {
                _ if child == 0 => None,
                Some(after) => self.search(child, method, after, steps),
                None => self.ending(child, method),
            };
            if found.is_some() {
                return found;
            }
        }
        if rest.is_empty() { None } else { self.ending(*catch_all, method) }
    }

    /// The template that ends at a node and is for this method.
    fn ending(&self, node: usize, method: &[u8]) -> Option<&Template> {
        let mut for_all = None;
        let mut next = self.nodes.get(node)?.leaves;
        while let Some(leaf) = self.leaf(next) {
            if leaf.template.names(method) {
                return Some(&leaf.template);
            } else if leaf.template.is_for_all() {
                for_all = Some(&leaf.template);
            }
            next = leaf.next;
        }
        for_all
    }

    fn leaf(&self, name: usize) -> Option<&Leaf> {
        self.leaves.get(name.checked_sub(1)?)
    }

    /// The node that a static segment leads to from another one; 0 if there is none.
    fn known(&self, parent: usize, segment: &[u8]) -> usize {
        self.places.get(self.place(parent, segment)).copied().unwrap_or_default()
    }

    /// The place of a static segment: where it stands, or else where it would.
    #[inline(never)]
    fn place(&self, parent: usize, segment: &[u8]) -> usize {
        let mask = self.places.len().wrapping_sub(1);
        let mut place = hash(parent, segment) & mask;
        while let Some(node) = self.places.get(place).filter(|node| **node != 0) {
            if self.leads(*node, parent, segment) {
                break;
            }
            place = (place + 1) & mask;
        }
        place
    }

    /// Whether this static segment leads to a node from its parent.
    fn leads(&self, node: usize, parent: usize, segment: &[u8]) -> bool {
        let Some(node) = self.nodes.get(node).filter(|node| node.parent == parent) else {
            return false;
        };
        let text = self.leaves.get(node.template).map(|leaf| leaf.template.text().as_bytes());
        let rest = text.and_then(|text| text.get(node.segment..)?.strip_prefix(segment));
        matches!(rest, Some([] | [b'/', ..]))
    }

    #[inline(never)] // Called once for each template: what makes the module smaller goes first.
    fn add(&mut self, template: Template) -> Result<(), Conflict> {
        let second = self.leaves.len();
        let text = template.text().as_bytes();
        let (mut node, mut start) = (0, 1);
        while let Some(rest) = text.get(start..) {
            let (segment, _) = split_first(rest);
            node = self.step(node, segment, [second, start]);
            start += segment.len() + 1;
        }
        let Some(node) = self.nodes.get_mut(node) else { return Ok(()) };
        let before = std::mem::replace(&mut node.leaves, second + 1);
        let mut next = before;
        while let Some(leaf) = self.leaf(next) {
            if leaf.template.shares_a_method(&template) {
                return Err(Conflict { first: next - 1, second });
            }
            next = leaf.next;
        }
        self.leaves.push(Leaf { template, next: before });
        Ok(())
    }

    /// The node that a segment leads to, which is there from now on; it stands in this template, from this byte on.
    fn step(&mut self, parent: usize, segment: &[u8], [template, start]: [usize; 2]) -> usize {
        let new = self.nodes.len();
        let child = match Segment::of(segment) {
            Segment::Static(_) => {
                self.longest = self.longest.max(segment.len());
                let place = self.place(parent, segment);
                self.places.get_mut(place)
            }
            Segment::Parameter(_) => self.nodes.get_mut(parent).map(|it| &mut it.parameter),
            Segment::CatchAll(_) => self.nodes.get_mut(parent).map(|it| &mut it.catch_all),
        };
        match child {
            Some(child) if *child == 0 => *child = new,
            Some(child) => return *child,
            None => {}
        }
        self.nodes.push(Node { parent, template, segment: start, ..Node::default() });
        new
    }
}

/// FNV-1a.
fn hash(parent: usize, segment: &[u8]) -> usize {
    let add = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let seed = parent.to_le_bytes().iter().fold(0x811c_9dc5, add);
    segment.iter().fold(seed, add) as usize
}

#[cfg(test)]
mod tests;
