//! What is in the kernel, and the transaction that turns it into what should be.
//!
//! [`State::apply`] takes the new plans of the services that changed and costs in proportion to
//! what changed in them. [`State::rebuild`] writes everything, in place of whatever there is.
//!
//! Not here: the plans' content, and the kernel socket.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::plan::ServicePlan;
use super::render::{Element, Rendering, render};
use super::table::{self, Class, Layout, Place, Remember, TABLE};
use crate::cidr::Cidr;
use crate::netlink::nft::{self, Batch, Family, Value};

/// Namespace and name of a service.
pub type ServiceKey = (String, String);

type ElementKey = (Place, Box<[u8]>);

/// One family's services as they are in the kernel.
#[derive(Debug)]
pub struct State {
    family: Family,
    layout: Layout,
    services: HashMap<ServiceKey, Known>,
    /// The chains there are. None is ever removed: there is one for each size in use so far.
    classes: BTreeSet<Class>,
    memories: BTreeSet<Remember>,
    /// Who wants an element, in the order they came; the first one's data is in the kernel. More
    /// than one where services claim the same external address, or share an endpoint.
    elements: HashMap<ElementKey, Vec<(u32, Value)>>,
    /// Firewall chains, with how many services use them.
    firewalls: BTreeMap<String, (Vec<Cidr>, usize)>,
    next_number: u32,
}

#[derive(Debug, Default)]
struct Known {
    number: u32,
    plan: ServicePlan,
    rendering: Rendering,
}

type Added = (nft::ElementKey, Value);

/// What a transaction consists of, before it is written.
#[derive(Debug, Default)]
pub struct Change {
    new_classes: BTreeSet<Class>,
    new_memories: BTreeSet<Remember>,
    add: BTreeMap<Place, Vec<Added>>,
    delete: BTreeMap<Place, Vec<nft::ElementKey>>,
    new_firewalls: BTreeMap<String, Vec<Cidr>>,
    old_firewalls: BTreeSet<String>,
}

impl Change {
    /// Elements added and deleted.
    pub fn size(&self) -> usize {
        self.add.values().map(Vec::len).sum::<usize>()
            + self.delete.values().map(Vec::len).sum::<usize>()
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.size() == 0 && self.new_classes.is_empty()
    }

    fn write(&self, batch: &mut Batch, family: Family, layout: &Layout) {
        for class in &self.new_classes {
            table::add_class(batch, family, layout, class);
        }
        for remember in &self.new_memories {
            table::add_remember(batch, family, remember);
        }
        for (name, sources) in &self.new_firewalls {
            table::add_firewall(batch, family, name, sources);
        }
        for (place, keys) in &self.delete {
            batch.delete_elements(place.name(), keys.iter().map(|k| &**k));
        }
        for (place, elements) in &self.add {
            batch.add_elements(place.name(), elements.iter().map(|(k, v)| (&**k, v)));
        }
        for name in &self.old_firewalls {
            batch.flush_chain(name);
            batch.delete_chain(name);
        }
    }
}

impl State {
    /// Nothing known and nothing in the kernel; [`State::rebuild`] has to come first.
    pub fn new(family: Family, layout: Layout) -> Self {
        Self {
            family,
            layout,
            services: HashMap::new(),
            classes: BTreeSet::new(),
            memories: BTreeSet::new(),
            elements: HashMap::new(),
            firewalls: BTreeMap::new(),
            next_number: 0,
        }
    }

    /// The family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// How many services are known.
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether no service is known.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// A service's plan.
    pub fn plan(&self, service: &ServiceKey) -> Option<&ServicePlan> {
        self.services.get(service).map(|k| &k.plan)
    }

    /// Takes new plans in (`None`: the service is gone) and says what changes in the kernel.
    pub fn take(&mut self, plans: Vec<(ServiceKey, Option<ServicePlan>)>) -> Change {
        let mut change = Change::default();
        // Keys touched, with what the kernel had before.
        let mut before: HashMap<ElementKey, Option<Value>> = HashMap::new();
        for (key, plan) in plans {
            let plan = plan.unwrap_or_default();
            let mut known = self.services.remove(&key).unwrap_or_else(|| {
                self.next_number += 1;
                Known { number: self.next_number, ..Known::default() }
            });
            let rendering = render(self.family, &plan);
            self.exchange(&known, &rendering, &mut before, &mut change);
            if plan != ServicePlan::default() {
                known.rendering = rendering;
                known.plan = plan;
                self.services.insert(key, known);
            }
        }
        for ((place, key), old) in before {
            let new = self.elements.get(&(place, key.clone())).map(|wanted| wanted[0].1.clone());
            if old == new {
                continue;
            }
            if old.is_some() {
                change.delete.entry(place).or_default().push(key.clone());
            }
            if let Some(value) = new {
                change.add.entry(place).or_default().push((key, value));
            }
        }
        change
    }

    /// Replaces a service's old elements by its new ones in the table of wishes.
    fn exchange(
        &mut self,
        known: &Known,
        new: &Rendering,
        before: &mut HashMap<ElementKey, Option<Value>>,
        change: &mut Change,
    ) {
        let (mut old, mut new_elements) =
            (known.rendering.elements.iter().peekable(), new.elements.iter().peekable());
        loop {
            let order = match (old.peek(), new_elements.peek()) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(a), Some(b)) => (a.place, &a.key).cmp(&(b.place, &b.key)),
            };
            match order {
                std::cmp::Ordering::Less => {
                    if let Some(e) = old.next() {
                        self.want(known.number, e, None, before);
                    }
                }
                std::cmp::Ordering::Greater => {
                    if let Some(e) = new_elements.next() {
                        self.want(known.number, e, Some(&e.value), before);
                    }
                }
                std::cmp::Ordering::Equal => {
                    if let (Some(a), Some(b)) = (old.next(), new_elements.next())
                        && a.value != b.value
                    {
                        self.want(known.number, b, Some(&b.value), before);
                    }
                }
            }
        }
        for class in &new.classes {
            if self.classes.insert(*class) {
                change.new_classes.insert(*class);
            }
        }
        for remember in &new.memories {
            if self.memories.insert(*remember) {
                change.new_memories.insert(*remember);
            }
        }
        for (name, sources) in &new.firewalls {
            let users = self.firewalls.entry(name.clone()).or_insert((sources.clone(), 0));
            users.1 += 1;
            if users.1 == 1 && !change.old_firewalls.remove(name) {
                change.new_firewalls.insert(name.clone(), sources.clone());
            }
        }
        for name in known.rendering.firewalls.keys() {
            let Some(users) = self.firewalls.get_mut(name) else { continue };
            users.1 -= 1;
            if users.1 == 0 {
                self.firewalls.remove(name);
                if change.new_firewalls.remove(name).is_none() {
                    change.old_firewalls.insert(name.clone());
                }
            }
        }
    }

    fn want(
        &mut self,
        service: u32,
        element: &Element,
        value: Option<&Value>,
        before: &mut HashMap<ElementKey, Option<Value>>,
    ) {
        let key = (element.place, element.key.clone());
        let wanted = self.elements.entry(key.clone()).or_default();
        before.entry(key.clone()).or_insert_with(|| wanted.first().map(|(_, v)| v.clone()));
        let at = wanted.iter().position(|(s, _)| *s == service);
        match (at, value) {
            (Some(at), Some(value)) => wanted[at].1 = value.clone(),
            (Some(at), None) => drop(wanted.remove(at)),
            (None, Some(value)) => wanted.push((service, value.clone())),
            (None, None) => {}
        }
        if wanted.is_empty() {
            self.elements.remove(&key);
        }
    }

    /// The transaction for a change.
    pub fn transaction(&self, change: &Change) -> Batch {
        let mut batch = Batch::new(self.family, TABLE);
        change.write(&mut batch, self.family, &self.layout);
        batch
    }

    /// The transaction that writes everything known, in place of whatever there is.
    pub fn rebuild(&self) -> Batch {
        let mut batch = table::skeleton(self.family, &self.layout);
        let mut all = Change {
            new_classes: self.classes.clone(),
            new_memories: self.memories.clone(),
            ..Change::default()
        };
        for (name, (sources, _)) in &self.firewalls {
            all.new_firewalls.insert(name.clone(), sources.clone());
        }
        for ((place, key), wanted) in &self.elements {
            all.add.entry(*place).or_default().push((key.clone(), wanted[0].1.clone()));
        }
        all.write(&mut batch, self.family, &self.layout);
        batch
    }
}
