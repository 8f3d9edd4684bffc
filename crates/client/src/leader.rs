//! Leader election on a lease (not there yet).
