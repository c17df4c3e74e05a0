//! Frames that wait, and whose turn it is.

use hv_abi::VmHandle;
use hv_abi::mailbox::{Frame, Slot};

use super::{Asker, EXTRA_FRAMES, FRAMES_MAX, FRAMES_PER_VM, Open, Progress, Requests, Waiting};

impl Requests {
    /// Keeps a frame of the request at place `open`.
    pub(super) fn push(&mut self, open: usize, asker: Asker, frame: &Frame, slot: &Slot) {
        let stamped = Frame { port: asker.port, vm: asker.vm, ..*frame };
        let slot = Slot { header: stamped.header(), body: slot.body };
        let place = self.waiting.trailing_ones() as usize;
        if let Some(free) = self.frames.get_mut(place) {
            *free = Some(Waiting { open, number: self.numbers, slot });
            self.waiting |= 1 << place;
            self.numbers += 1;
        }
    }

    /// The frames that wait, their places, and the VMs that sent them.
    pub(super) fn queue(&self) -> impl Iterator<Item = (usize, &Waiting, VmHandle)> {
        let mut left = self.waiting;
        core::iter::from_fn(move || {
            let place = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            let waiting = self.frames.get(place)?.as_ref()?;
            Some((place, waiting, self.open[waiting.open].as_ref()?.asker.vm))
        })
    }

    /// Whether one more frame of `vm` may wait.
    pub(super) fn has_room_for(&self, vm: VmHandle) -> bool {
        let (mut own, mut vms) = (0, 0u128);
        for (_, _, sender) in self.queue() {
            own += usize::from(sender == vm);
            vms |= 1 << (sender.index().unwrap_or(0) & 127);
        }
        own == 0 || own < FRAMES_PER_VM && self.waiting.count_ones() - vms.count_ones() < EXTRA_FRAMES
    }

    /// The frame whose turn it is, of VMs that `may` be served: the oldest one of the next VM.
    pub(super) fn next(&self, may: impl Fn(VmHandle) -> bool) -> Option<(usize, VmHandle)> {
        let turn = |vm: VmHandle| vm.index().unwrap_or(0).wrapping_sub(self.served).wrapping_sub(1);
        let frames = self.queue().filter(|(_, _, vm)| may(*vm));
        let first = frames.min_by_key(|(_, waiting, vm)| (turn(*vm), waiting.number));
        first.map(|(place, _, vm)| (place, vm))
    }

    /// Hands frames that wait to `put`, one of each VM in turn, until it says that it has no room. Returns how many.
    pub fn deliver(&mut self, mut put: impl FnMut(&Slot) -> bool) -> u32 {
        let mut delivered = 0;
        while let Some((place, vm)) = self.next(|_| true) {
            let Some(waiting) = self.frames[place].as_ref().filter(|waiting| put(&waiting.slot)) else { break };
            if let Some(open) = self.open[waiting.open].as_mut()
                && open.progress == Progress::Waiting
            {
                open.progress = Progress::Started;
            }
            self.drop_frame(place);
            self.served = vm.index().unwrap_or(0);
            delivered += 1;
        }
        delivered
    }

    fn drop_frame(&mut self, place: usize) {
        self.frames[place] = None;
        self.waiting &= !(1 << place);
    }

    /// Takes frames out of the queue.
    pub(super) fn drop_frames(&mut self, which: impl Fn(usize, &Open) -> bool) {
        for place in 0..FRAMES_MAX {
            let goes = |frame: &Waiting| self.open[frame.open].as_ref().is_none_or(|open| which(frame.open, open));
            if self.frames[place].as_ref().is_some_and(goes) {
                self.drop_frame(place);
            }
        }
    }

    /// Frames that wait.
    pub const fn waiting(&self) -> u32 {
        self.waiting.count_ones()
    }

    /// Whose turn it is, of those that wait and `may` be served.
    pub fn next_asker(&self, may: impl Fn(VmHandle) -> bool) -> Option<VmHandle> {
        self.next(may).map(|(_, vm)| vm)
    }

    /// The VMs whose frames wait, one for each frame.
    pub fn askers(&self) -> impl Iterator<Item = VmHandle> {
        self.queue().map(|(_, _, vm)| vm)
    }
}
