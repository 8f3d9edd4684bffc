//! The order in which upstream prints a type's fields: by protobuf number, but for the types in the
//! table.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Type;

static TABLE: LazyLock<HashMap<&'static str, Vec<&'static str>>> = LazyLock::new(|| {
    let lines = include_str!("../../tables/order.txt").lines().filter(|l| !l.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.collect()))
        })
        .collect()
});

impl Type {
    /// Where a field stands among the type's when they are printed. What is no field stands last.
    pub fn rank(&self, name: &str) -> impl Ord + use<> {
        let listed = TABLE.get(self.name).and_then(|order| order.iter().position(|f| *f == name));
        let numbers = self.field(name).map(|field| field.proto.to_vec());
        (listed.unwrap_or(usize::MAX), numbers.is_none(), numbers.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn fields_print_in_their_structs_order() {
        let container = crate::schema::type_of("io.k8s.api.core.v1.Container").expect("known");
        let mut fields = ["bogus", "tty", "imagePullPolicy", "terminationMessagePolicy", "name"];
        fields.sort_by_key(|field| container.rank(field));
        let sorted = ["name", "terminationMessagePolicy", "imagePullPolicy", "tty", "bogus"];
        assert_eq!(fields, sorted);

        let selector = crate::schema::type_of("io.k8s.api.core.v1.LabelSelector");
        assert!(selector.is_none());
        let probe = crate::schema::type_of("io.k8s.api.core.v1.HTTPGetAction").expect("known");
        let mut fields = ["scheme", "path", "port"];
        fields.sort_by_key(|field| probe.rank(field));
        assert_eq!(fields, ["path", "port", "scheme"]);
    }
}
