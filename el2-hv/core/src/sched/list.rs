//! Lists of vCPUs, linked through their entities: every step costs the same however long they are.

use super::entity::{Entity, Place};
use super::{Entities, MAX_VCPUS_TOTAL};
use crate::addr::VcpuId;

/// One list of a queue.
#[derive(Debug)]
pub(super) struct List {
    head: Option<VcpuId>,
    tail: Option<VcpuId>,
}

impl List {
    pub(super) const fn new() -> Self {
        Self { head: None, tail: None }
    }

    #[inline]
    pub(super) const fn head(&self) -> Option<VcpuId> {
        self.head
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    #[inline]
    pub(super) fn push_back(&mut self, all: &Entities, vcpu: VcpuId, place: Place) {
        all[vcpu].set_place(place);
        self.insert(all, vcpu, self.tail, None);
    }

    #[inline]
    pub(super) fn push_front(&mut self, all: &Entities, vcpu: VcpuId, place: Place) {
        all[vcpu].set_place(place);
        self.insert(all, vcpu, None, self.head);
    }

    /// Before the first one whose deadline is later.
    pub(super) fn insert_by_deadline(&mut self, all: &Entities, vcpu: VcpuId, place: Place) {
        all[vcpu].set_place(place);
        let deadline = all[vcpu].deadline();
        let next = self.iter(all).find(|&other| all[other].deadline() > deadline);
        let previous = next.map_or(self.tail, |next| all[next].previous());
        self.insert(all, vcpu, previous, next);
    }

    #[inline]
    fn insert(&mut self, all: &Entities, vcpu: VcpuId, previous: Option<VcpuId>, next: Option<VcpuId>) {
        let entity = &all[vcpu];
        entity.set_previous(previous);
        entity.set_next(next);
        match previous {
            Some(previous) => all[previous].set_next(Some(vcpu)),
            None => self.head = Some(vcpu),
        }
        match next {
            Some(next) => all[next].set_previous(Some(vcpu)),
            None => self.tail = Some(vcpu),
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, all: &Entities, vcpu: VcpuId) {
        let entity: &Entity = &all[vcpu];
        let (previous, next) = (entity.previous(), entity.next());
        match previous {
            Some(previous) => all[previous].set_next(next),
            None => self.head = next,
        }
        match next {
            Some(next) => all[next].set_previous(previous),
            None => self.tail = previous,
        }
        entity.set_place(Place::None);
    }

    pub(super) fn iter<'a>(&self, all: &'a Entities) -> impl Iterator<Item = VcpuId> + use<'a> {
        core::iter::successors(self.head, |&vcpu| all[vcpu].next()).take(MAX_VCPUS_TOTAL)
    }
}
