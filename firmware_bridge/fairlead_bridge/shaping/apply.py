"""Applies plans as transactions: all of a plan is in force, or all of the previous one."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

from fairlead_bridge.shaping.difference import Step, steps
from fairlead_bridge.shaping.errors import ApplyError, RollbackError
from fairlead_bridge.shaping.journal import DEFAULT_DIRECTORY, Journal, Transaction
from fairlead_bridge.shaping.kernel import Kernel, check_no_loop, identity, index_of
from fairlead_bridge.shaping.objects import KernelObject, objects_of
from fairlead_bridge.shaping.plan import ShapingPlan


@dataclass(frozen=True, slots=True)
class Applied:
    """What a transaction did, in the order in which it was done."""

    link: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Recovered:
    """A transaction that its process left half done, and the plan that is in force again (None: no shaping)."""

    link: str
    plan: ShapingPlan | None


@dataclass(frozen=True, slots=True)
class _State:
    """What this process put in force on a link, and the file that says so."""

    index: int
    stamp: tuple[int, int] | None
    plan: ShapingPlan | None


class Shaper:
    """Shapes the links of the network namespace in which it is made; to be closed. One thread at a time.

    On the way in it rolls back what a killed process left half done. The plans in force are kept in ``directory``,
    so that the next process changes them in place; links that are shaped by others are refused.
    """

    def __init__(self, directory: str = DEFAULT_DIRECTORY, kernel: Kernel | None = None) -> None:
        """Open the kernel's socket and the folder.

        Raises:
            ApplyError: pyroute2 is not installed, or the folder cannot be used.
            RollbackError: what a killed process left could not be undone.
        """
        self._journal = Journal(directory)
        self._kernel = kernel or Kernel()
        self._known: dict[str, _State] = {}
        try:
            self.recovered = self.recover()
        except BaseException:
            self._kernel.close()
            raise

    def __enter__(self) -> Shaper:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the kernel's socket; the shaping stays."""
        self._kernel.close()

    def plan(self, link: str) -> ShapingPlan | None:
        """The plan in force; None where we shape nothing."""
        committed = self._journal.committed(link)
        return committed.new if committed else None

    def apply(self, plan: ShapingPlan) -> Applied:
        """Put a plan in the place of what is in force on its link.

        Raises:
            PlanError: the plan is wrong in itself; nothing was done.
            ApplyError: the kernel refused a step, the link is not there or is shaped by others: the previous state is
                in force, exactly.
            RollbackError: the previous state could not be restored.
        """
        plan.validate()
        return self._change(plan.link, plan)

    def clear(self, link: str) -> Applied:
        """Take all our shaping off a link; raises as ``apply``."""
        return self._change(link, None)

    def recover(self) -> tuple[Recovered, ...]:
        """Undo what a killed process left half done, on every link.

        Raises:
            RollbackError: a step could not be undone; the journal is kept.
        """
        return tuple(self._recover(link) for link in self._journal.links(interrupted=True))

    def _change(self, link: str, new: ShapingPlan | None) -> Applied:
        check_no_loop()
        with self._journal.lock(link):
            index = _index(link)
            self._make_good(link)
            old, there = self._state(link, index)
            todo = steps(there, objects_of(new))
            transaction = Transaction(index, old, new)
            self._journal.begin(link, transaction)
            self._carry_out(transaction, link, there, todo)
            self._known[link] = _State(index, self._journal.stamp(link), new)
            return Applied(link, todo)

    def _state(self, link: str, index: int) -> tuple[ShapingPlan | None, tuple[KernelObject, ...]]:
        """The plan in force and its objects that are really there; looked up where another may have changed them."""
        known = self._known.get(link)
        if known and known.plan and known.index == index and known.stamp == self._journal.stamp(link):
            return known.plan, objects_of(known.plan)
        committed = self._journal.committed(link)
        old = committed.new if committed and committed.index == index else None
        expected = objects_of(old)
        foreign = self._kernel.foreign_qdisc(link, {identity(item) for item in expected})
        if foreign:
            raise ApplyError(f"link {link} is shaped by others: {foreign}; accepted: a link without such a discipline")
        present = self._kernel.present(link)
        return old, tuple(item for item in expected if identity(item) in present)

    def _carry_out(
        self, transaction: Transaction, link: str, there: tuple[KernelObject, ...], todo: tuple[Step, ...]
    ) -> None:
        done: list[Step] = []
        doing = "nothing"
        try:
            for step in todo:
                doing = str(step)
                self._kernel.do(step)
                done.append(step)
            doing = "writing down the new plan"
            self._journal.commit(link, transaction)
        except BaseException as error:
            self._known.pop(link, None)
            self._roll_back(link, transaction, tuple(done), there)
            if not isinstance(error, OSError):
                raise
            reason = f"{doing}: {error.strerror or error}"
            raise ApplyError(f"{reason}; {len(done)} steps before it were undone", error.errno or 0) from error

    def _roll_back(
        self, link: str, transaction: Transaction, done: tuple[Step, ...], there: tuple[KernelObject, ...]
    ) -> None:
        failures: list[str] = []
        for step in reversed(done):
            try:
                self._kernel.undo(step)
            except OSError as error:
                failures.append(f"{step.inverse}: {error.strerror or error}")
        if failures or self._lacks(link, there):
            self._rebuild(link, transaction, failures)
        self._journal.forget(link)

    def _rebuild(self, link: str, transaction: Transaction, failures: list[str]) -> None:
        """The last resort: take all of both plans away, whatever is there of it, and make the old one anew."""
        old = objects_of(transaction.old)
        try:
            for item in (*reversed(objects_of(transaction.new)), *reversed(old)):
                self._kernel.undo(Step(None, item))
            for item in old:
                self._kernel.do(Step(None, item))
        except OSError as error:
            failures.append(error.strerror or str(error))
        failures += [f"{identity(item)} is not back" for item in self._lacks(link, old)]
        if self._lacks(link, old):
            raise RollbackError(f"link {link} is half changed, its journal is kept: {'; '.join(failures)}")

    def _lacks(self, link: str, wanted: tuple[KernelObject, ...]) -> list[KernelObject]:
        present = self._kernel.present(link)
        return [item for item in wanted if identity(item) not in present]

    def _recover(self, link: str) -> Recovered:
        with self._journal.lock(link):
            self._make_good(link)
            return Recovered(link, self.plan(link))

    def _make_good(self, link: str) -> None:
        """Undo a transaction that did not come to its end."""
        left = self._journal.interrupted(link)
        if left is None:
            return
        if _index_or_zero(link) != left.index:
            self._journal.drop(link)  # the link went, and all its shaping with it
            return
        there = objects_of(left.old)
        self._roll_back(link, left, steps(there, objects_of(left.new)), there)


def _index(link: str) -> int:
    try:
        return index_of(link)
    except OSError as error:
        raise ApplyError(f"{error.strerror}; accepted: a link of this network namespace", error.errno or 0) from error


def _index_or_zero(link: str) -> int:
    try:
        return index_of(link)
    except OSError:
        return 0
