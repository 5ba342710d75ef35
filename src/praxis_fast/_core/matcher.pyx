# Unsafe directives (setup.py): no bounds checks, no negative indexes.
"""Which subscribers want an event: an index over the distinct filters.

Every name a filter gives (a type, glob, source pattern, task, peer or tag rule) is a
`Term`, kept only while a filter names it. A group is filed under the terms of its most
selective condition, as postings:

    term task "t-17"  ->  | group, least priority, rank, more to check? | ...
    term type "p2p.*" ->  | ...                                         |

An event is resolved into the terms that hold for it. Only their postings are looked
at; what else a filter asks for is checked by the stamps that resolving has left on the
terms. The answer depends on nothing but these terms, the priority and the role, so it
is kept under their serial numbers. Filing or removing a group touches `changed` of its
terms; an answer older than one of its terms is not used. No Python code runs while
pointers into postings are held; memory that events bring in is bounded by constants.
"""

import logging
import re
from fnmatch import translate

cimport cython
from cpython.dict cimport PyDict_Check, PyDict_GetItemWithError, PyDict_Next
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject, PyTypeObject, Py_TYPE
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_CheckExact, PyUnicode_FromObject
from libc.stdint cimport int16_t, int32_t, int8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

cdef extern from "Python.h":
    int PyUnicode_KIND(object text)
    void *PyUnicode_DATA(object text)
    Py_UCS4 PyUnicode_READ(int kind, void *data, Py_ssize_t index)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    int PyUnicode_Contains(object text, object part) except -1
    int PyType_IsSubtype(PyTypeObject *one, PyTypeObject *other)

cdef extern from "structmember.h":
    ctypedef struct PyMemberDef:
        int type
        Py_ssize_t offset
    ctypedef struct PyDescrObject:
        PyTypeObject *d_type
    ctypedef struct PyMemberDescrObject:
        PyDescrObject d_common
        PyMemberDef *d_member
    PyTypeObject PyMemberDescr_Type
    int T_OBJECT_EX

cdef extern from *:
    # To be written: the reference count changes.
    void prefetch "__builtin_prefetch"(const void *address, int write)

logger = logging.getLogger("praxis_fast._pure.matcher")

cdef enum:
    # Sections of a group's terms.
    TYPES = 0
    SOURCES = 1
    TASKS = 2
    PEERS = 3
    REQUIRED = 4
    EXCLUDED = 5
    SECTIONS = 6
    EVERYTHING = 7
    NOWHERE = 8

cdef enum:
    # What is left to do for a posting: names beside the home condition, several homes
    # that can hold at once, tags that must not be there.
    CHECK_MORE = 1
    CHECK_TWICE = 2
    CHECK_EXCLUDED = 4

cdef enum:
    TRUSTED = 4
    NO_LEAST = -32768
    # Postings ahead whose groups are fetched into the cache.
    AHEAD = 16

cdef enum:
    # Texts of events whose globs are remembered: two generations of this many each,
    # none longer than this, so that no event can make the table grow.
    MAX_TEXTS = 1024
    MAX_TEXT = 256
    # Answers kept: sets of four; shapes with more terms are answered anew each time.
    ANSWER_SETS = 512
    ANSWER_WAYS = 4
    MAX_SHAPE = 64
    # Groups in all answers together (8 bytes each).
    MAX_ANSWERED = 1048576
    # Removed groups that answers may keep alive before all answers go.
    MAX_GHOSTS = 1024

cdef struct Answer:
    uint64_t hash
    uint64_t made
    uint64_t *shape
    int32_t length


cdef dict RANKS = {"guest": 1, "user": 2, "admin": 3}


cdef inline int role_rank(object role) except -1:
    """The rank of a subscriber's role; no role at all is trusted with anything."""
    return TRUSTED if role is None else RANKS.get(role, 0)


cdef inline int required_rank(object role) except -1:
    """The rank an event asks for; a role nobody knows is for trusted eyes only."""
    return 0 if role is None else RANKS.get(role, TRUSTED)


cdef inline str exact_text(object value):
    """The text as an exact `str` (no foreign hash or equality), None for all else."""
    if PyUnicode_CheckExact(value):
        return <str> value
    if isinstance(value, str):
        return PyUnicode_FromObject(value)
    return None


cdef inline bint is_glob(str pattern):
    return "*" in pattern or "?" in pattern or "[" in pattern


cdef bint fits(str pattern, str text) noexcept:
    """Whether a glob of `*` and `?` fits the whole text; goes back to one star only."""
    cdef int pattern_kind = PyUnicode_KIND(pattern)
    cdef int text_kind = PyUnicode_KIND(text)
    cdef void *signs = PyUnicode_DATA(pattern)
    cdef void *letters = PyUnicode_DATA(text)
    cdef Py_ssize_t sign_count = PyUnicode_GET_LENGTH(pattern)
    cdef Py_ssize_t letter_count = PyUnicode_GET_LENGTH(text)
    cdef Py_ssize_t p = 0, t = 0, star = -1, resume = 0
    cdef Py_UCS4 sign = 0
    while t < letter_count:
        if p < sign_count:
            sign = PyUnicode_READ(pattern_kind, signs, p)
            if sign == u"*":
                star = p
                resume = t
                p += 1
                continue
            if sign == u"?" or sign == PyUnicode_READ(text_kind, letters, t):
                p += 1
                t += 1
                continue
        if star < 0:
            return False
        resume += 1
        t = resume
        p = star + 1
    while p < sign_count and PyUnicode_READ(pattern_kind, signs, p) == u"*":
        p += 1
    return p == sign_count


cdef enum:
    # Fields of an event.
    EVENT_TYPE = 0
    EVENT_SOURCE = 1
    EVENT_TASK = 2
    EVENT_PEER = 3
    EVENT_TAGS = 4
    EVENT_PRIORITY = 5
    EVENT_ROLE = 6
    EVENT_FIELDS = 7

cdef tuple EVENT_NAMES = (
    "type", "source", "task_id", "peer_id", "tags", "priority", "required_role"
)


@cython.final
cdef class Reader:
    """Reads the fields of events; those in slots of the first class seen, directly.

    A look-up through the class costs more than all else there is to do for an event.
    Classes of events do not change their slots.
    """

    cdef object event_class
    cdef Py_ssize_t[EVENT_FIELDS] offsets

    cdef int learn(self, object event_class) except -1:
        """Note where instances of the class keep their fields; 0 for "ask"."""
        cdef int field
        cdef PyMemberDef *member
        cdef bint is_own
        cdef Py_ssize_t[EVENT_FIELDS] offsets
        # Looking a field up runs any code, and that may learn another class.
        for field in range(EVENT_FIELDS):
            found = getattr(event_class, EVENT_NAMES[field], None)
            offsets[field] = 0
            if found is not None and Py_TYPE(found) == &PyMemberDescr_Type:
                member = (<PyMemberDescrObject *> found).d_member
                # One borrowed from another class would point beyond the instance.
                is_own = PyType_IsSubtype(
                    <PyTypeObject *> event_class, (<PyMemberDescrObject *> found).d_common.d_type
                )
                if is_own and member.type == T_OBJECT_EX:
                    offsets[field] = member.offset
        self.offsets = offsets
        self.event_class = event_class
        return 0

    cdef inline object read(self, object event, int field):
        cdef Py_ssize_t offset
        cdef PyObject *value
        if type(event) is self.event_class:
            offset = self.offsets[field]
            if offset:
                value = (<PyObject **> (<char *> <PyObject *> event + offset))[0]
                if value != NULL:
                    return <object> value
        elif self.event_class is None:
            self.learn(type(event))
        return getattr(event, <str> EVENT_NAMES[field])


@cython.final
@cython.no_gc
cdef class Term:
    """One name that filters give, and the groups filed under it."""

    cdef object name
    cdef int section
    cdef bint is_pattern
    cdef object regex
    cdef Py_ssize_t uses
    # How many filters exclude it.
    cdef Py_ssize_t exclusions
    cdef uint64_t serial
    cdef uint64_t changed
    cdef uint64_t stamp
    cdef Posting *postings
    cdef Py_ssize_t count
    cdef Py_ssize_t capacity

    def __dealloc__(self):
        PyMem_Free(self.postings)

    cdef str beginning(self):
        """The literal text every text that fits starts with."""
        cdef str pattern = <str> self.name
        cdef Py_ssize_t i
        if self.section == SOURCES and not is_glob(pattern):
            return ""
        for i in range(PyUnicode_GET_LENGTH(pattern)):
            if pattern[i] in u"*?[":
                return pattern[:i]
        return pattern

    cdef bint holds(self, str text) except -1:
        """Whether the pattern fits the text of an event."""
        cdef str pattern = <str> self.name
        if self.section == SOURCES and not is_glob(pattern):
            return PyUnicode_Contains(text, pattern)
        if "[" not in pattern:
            return fits(pattern, text)
        if self.regex is None:
            self.regex = re.compile(translate(pattern)).match
        return self.regex(text) is not None

    cdef int reserve(self) except -1:
        """Make room for one more posting."""
        cdef Py_ssize_t capacity = self.capacity * 2 if self.capacity else 2
        cdef void *grown
        if self.count < self.capacity:
            return 0
        grown = PyMem_Realloc(self.postings, capacity * sizeof(Posting))
        if grown == NULL:
            raise MemoryError()
        self.postings = <Posting *> grown
        self.capacity = capacity
        return 0

    cdef void file(self, Group group, int32_t home, int8_t flags) noexcept:
        """Append a posting; `reserve` was called before."""
        cdef Posting *posting = &self.postings[self.count]
        posting.group = <void *> group
        posting.home = home
        posting.min_priority = <int16_t> group.min_priority
        posting.rank = <int8_t> group.rank
        posting.flags = flags
        group.homes[home].term = <void *> self
        group.homes[home].place = self.count
        self.count += 1

    cdef void remove(self, Py_ssize_t place) noexcept:
        """Take a posting out; the last one moves to its place."""
        cdef Posting *last = &self.postings[self.count - 1]
        cdef Group moved
        if place != self.count - 1:
            self.postings[place] = last[0]
            moved = <Group> last.group
            moved.homes[last.home].place = place
        self.count -= 1
        if self.capacity > 64 and self.count * 4 < self.capacity:
            self.shrink()

    cdef void shrink(self) noexcept:
        cdef Py_ssize_t capacity = self.capacity // 2
        cdef void *smaller = PyMem_Realloc(self.postings, capacity * sizeof(Posting))
        if smaller != NULL:
            self.postings = <Posting *> smaller
            self.capacity = capacity


@cython.final
@cython.no_gc
cdef class Text:
    """The patterns that fit one text of events, as far as they have been tried."""

    cdef list terms
    cdef Py_ssize_t seen
    cdef uint64_t epoch

    def __cinit__(self):
        self.terms = []


@cython.final
cdef class Patterns:
    """All globs on types, or all patterns on sources, and the texts they were tried on.

    A new text is tried on the patterns whose literal beginning it has. `log` lists all
    patterns in order of arrival: a text known already is tried on those that came
    since. Dead ones are swept out when they are the majority; then the epoch changes
    and every text starts over.
    """

    cdef list log
    cdef Py_ssize_t live
    cdef uint64_t epoch
    # Patterns by literal beginning, and how many beginnings have a length.
    cdef dict beginnings
    cdef dict lengths
    cdef dict young
    cdef dict old

    def __cinit__(self):
        self.epoch = 1
        self.log = []
        self.beginnings = {}
        self.lengths = {}
        self.young = {}
        self.old = {}

    cdef int add(self, Term term) except -1:
        cdef str beginning = term.beginning()
        cdef object bucket = self.beginnings.get(beginning)
        cdef object length = len(beginning)
        if bucket is None:
            bucket = self.beginnings[beginning] = {}
            self.lengths[length] = self.lengths.get(length, 0) + 1
        (<dict> bucket)[term] = None
        self.log.append(term)
        self.live += 1
        return 0

    cdef int remove(self, Term term) except -1:
        """The term has lost its last use."""
        cdef str beginning = term.beginning()
        cdef dict bucket = self.beginnings[beginning]
        cdef object length = len(beginning)
        del bucket[term]
        if not bucket:
            del self.beginnings[beginning]
            self.lengths[length] -= 1
            if not self.lengths[length]:
                del self.lengths[length]
        self.live -= 1
        if len(self.log) > 2 * self.live + 64:
            self.log = [term for term in self.log if term.uses]
            self.epoch += 1
        return 0

    cdef bint is_fresh(self, Text entry):
        return entry.epoch == self.epoch and entry.seen == len(self.log)

    cdef Text find(self, str text):
        """The entry of the text, caught up with the log."""
        cdef object found = self.young.get(text)
        cdef Text entry
        if found is not None:
            entry = <Text> found
        else:
            found = self.old.get(text)
            entry = Text() if found is None else <Text> found
            if PyUnicode_GET_LENGTH(text) <= MAX_TEXT:
                self.keep(text, entry)
        if not self.is_fresh(entry):
            self.catch_up(text, entry)
        return entry

    cdef int keep(self, str text, Text entry) except -1:
        if len(self.young) >= MAX_TEXTS:
            self.old = self.young
            self.young = {}
        self.young[text] = entry
        return 0

    cdef int catch_up(self, str text, Text entry) except -1:
        """Try the patterns not tried yet; more may come or all may go meanwhile."""
        cdef Term term
        while not self.is_fresh(entry):
            if entry.epoch != self.epoch:
                self.start_over(text, entry)
                continue
            term = <Term> self.log[entry.seen]
            entry.seen += 1
            if term.uses and term.holds(text):
                entry.terms.append(term)
        return 0

    cdef int start_over(self, str text, Text entry) except -1:
        cdef Py_ssize_t length, size = PyUnicode_GET_LENGTH(text)
        cdef Term term
        entry.terms = []
        entry.seen = len(self.log)
        entry.epoch = self.epoch
        for length in tuple(self.lengths):
            bucket = self.beginnings.get(text[:length]) if length <= size else None
            if bucket is not None:
                for term in tuple(<dict> bucket):
                    if term.holds(text):
                        entry.terms.append(term)
        return 0


@cython.final
cdef class Group:
    """Subscribers whose filters are equal.

    `keys` is a live, read-only, set-like view of their keys.
    """

    def __init__(self, filter, dict members not None):
        self.filter = filter
        self.members = members

    def __dealloc__(self):
        cdef int32_t i
        for i in range(self.wanted_count):
            Py_DECREF(<object> self.wanted[i])
        PyMem_Free(self.wanted)
        PyMem_Free(self.homes)

    @property
    def keys(self):
        """The keys of the subscribers."""
        return self.members.keys()

    def __repr__(self):
        return f"<Group of {len(self.members)}: {self.filter!r}>"


@cython.final
cdef class Matcher:
    """Finds the groups of subscribers whose filter an event meets.

    A filter that overrides `matches` is asked event by event. When it raises, it does
    not match, `on_error(filter, error)` is called (without one the first error of each
    group is logged), and no other filter notices.
    """

    cdef object on_error
    # A group, or a list of those whose fields have the same hash.
    cdef dict groups_by_hash
    cdef Py_ssize_t group_count
    cdef dict groups_by_key
    # Groups asked one by one, in order of arrival.
    cdef dict asked
    cdef dict types
    cdef dict source_texts
    cdef dict tasks
    cdef dict peers
    cdef dict tag_names
    cdef dict tag_pairs
    cdef Patterns globs
    cdef Patterns sources
    cdef Reader reader
    # Holds the groups that no named thing restricts.
    cdef Term everything
    cdef uint64_t clock
    cdef uint64_t stamp
    cdef uint64_t serial
    # The terms (borrowed) that hold for the event at hand.
    cdef void **hits
    cdef Py_ssize_t hit_count
    cdef Py_ssize_t hit_capacity
    # How many of them are neither tasks nor peers.
    cdef Py_ssize_t shape_count
    # What has to be checked for it at all: often no excluded tag is near.
    cdef int8_t checks
    # The groups (owned) that want it.
    cdef PyObject **found
    cdef Py_ssize_t found_count
    cdef Py_ssize_t found_capacity
    # Answers by shape; their tuples are in a list, where the collector sees them.
    cdef Answer *answers
    cdef list answer_groups
    cdef Py_ssize_t answered
    cdef Py_ssize_t ghosts
    cdef uint32_t turn

    def __cinit__(self, *, on_error=None):
        self.answers = <Answer *> PyMem_Calloc(ANSWER_SETS * ANSWER_WAYS, sizeof(Answer))
        if self.answers == NULL:
            raise MemoryError()
        self.answer_groups = [None] * (ANSWER_SETS * ANSWER_WAYS)
        self.groups_by_hash = {}
        self.groups_by_key = {}
        self.asked = {}
        self.types = {}
        self.source_texts = {}
        self.tasks = {}
        self.peers = {}
        self.tag_names = {}
        self.tag_pairs = {}
        self.globs = Patterns()
        self.sources = Patterns()
        self.everything = Term()
        self.reader = Reader()

    def __init__(self, *, on_error=None):
        self.on_error = on_error

    def __dealloc__(self):
        cdef Py_ssize_t i
        if self.answers != NULL:
            for i in range(ANSWER_SETS * ANSWER_WAYS):
                PyMem_Free(self.answers[i].shape)
        PyMem_Free(self.answers)
        PyMem_Free(self.hits)
        PyMem_Free(self.found)

    def __len__(self):
        return len(self.groups_by_key)

    def __contains__(self, key):
        return key in self.groups_by_key

    @property
    def groups(self):
        """How many different filters there are."""
        return self.group_count

    def add(self, key, filter):
        """The group the subscriber is in from now on; replaces its former filter."""
        cdef Group group
        cdef Fields fields
        hash(key)
        fields = read_fields(filter)
        group = self.find_group(fields, filter)
        if group is None or self.groups_by_key.get(key) is not group:
            self.discard(key)
            if group is None or not group.is_alive:
                group = self.make_group(fields, filter)
            group.members[key] = None
            self.groups_by_key[key] = group
        return group

    def discard(self, key):
        """Forget the subscriber; a key that is not there is ignored."""
        cdef object found = self.groups_by_key.pop(key, None)
        cdef Group group
        if found is None:
            return
        group = <Group> found
        group.members.pop(key, None)
        if not group.members and group.is_alive:
            self.remove_group(group)

    def match(self, event):
        """The groups that want the event, in no particular order."""
        cdef tuple groups = self.match_terms(event)
        return self.ask(groups, event) if self.asked else groups

    # Groups come and go.

    cdef Group find_group(self, Fields fields, filter):
        """The group of an equal filter; fields tell most others apart at once."""
        cdef Group group
        found = self.groups_by_hash.get(fields.hash)
        if found is None:
            return None
        for group in tuple(<list> found) if type(found) is list else (found,):
            if group.filter == filter and group.is_alive:
                return group
        return None

    cdef Group make_group(self, Fields fields, filter):
        cdef Group group = Group(filter, {})
        group.hash = fields.hash
        group.rank = role_rank(fields.role)
        group.min_priority = NO_LEAST
        if fields.min_priority is not None:
            group.min_priority = max(min(int(fields.min_priority), 32767), -32767)
        if filter.overrides_matches or not fields.make_exact():
            self.asked[group] = None
        else:
            self.compile(group, fields)
            self.file(group)
        self.keep_group(group)
        return group

    cdef int keep_group(self, Group group) except -1:
        found = self.groups_by_hash.get(group.hash)
        if found is None:
            self.groups_by_hash[group.hash] = group
        elif type(found) is list:
            (<list> found).append(group)
        else:
            self.groups_by_hash[group.hash] = [found, group]
        group.is_alive = True
        self.group_count += 1
        return 0

    cdef int remove_group(self, Group group) except -1:
        cdef int32_t i
        group.is_alive = False
        self.group_count -= 1
        self.unfile(group)
        self.asked.pop(group, None)
        found = self.groups_by_hash[group.hash]
        if type(found) is list and len(<list> found) > 1:
            (<list> found).remove(group)
        else:
            del self.groups_by_hash[group.hash]
        for i in range(group.wanted_count):
            (<Term> group.wanted[i]).exclusions -= i >= group.ends[REQUIRED]
            self.release(<Term> group.wanted[i])
        self.ghosts += 1
        if self.ghosts > MAX_GHOSTS + self.group_count:
            self.forget_answers()
        return 0

    cdef int compile(self, Group group, Fields fields) except -1:
        """Turn the names of the filter into terms."""
        cdef Py_ssize_t count = 0
        cdef int section
        cdef Term term
        for names in fields.sections:
            count += 0 if names is None else len(names)
        group.wanted = <void **> PyMem_Malloc(max(1, count) * sizeof(void *))
        if group.wanted == NULL:
            raise MemoryError()
        for section in range(SECTIONS):
            for name in fields.sections[section] or ():
                term = self.intern(section, name)
                Py_INCREF(term)
                group.wanted[group.wanted_count] = <void *> term
                group.wanted_count += 1
                term.exclusions += section == EXCLUDED
            group.ends[section] = group.wanted_count
        group.home_section = self.choose_home(fields.sections)
        return 0

    cdef int choose_home(self, list sections) except -1:
        """The condition that the fewest events meet, as a rule."""
        cdef int section
        for section in range(REQUIRED):
            if sections[section] is not None and not sections[section]:
                return NOWHERE
        for section in (TASKS, PEERS, REQUIRED, SOURCES, TYPES):
            if sections[section]:
                return section
        return EVERYTHING

    cdef Term intern(self, int section, object name):
        """The term of a name in a section, made when no filter named it before."""
        cdef dict table = self.table(section, name)
        cdef object key = name[1] if type(name) is tuple else name
        cdef object found = table.get(key)
        cdef Term term
        if found is not None:
            term = <Term> found
        else:
            self.serial += 1
            term = Term()
            term.name = name
            term.section = section
            term.serial = self.serial
            term.is_pattern = section == SOURCES or (section == TYPES and is_glob(name))
            table[key] = term
        term.uses += 1
        # Last, because it may run the collector: the term is known and used by then.
        if found is None and term.is_pattern:
            self.patterns(section).add(term)
        return term

    cdef int release(self, Term term) except -1:
        """One filter less names the term; the last one takes it along."""
        cdef dict table
        term.uses -= 1
        if term.uses:
            return 0
        table = self.table(term.section, term.name)
        if type(term.name) is tuple:
            del table[term.name[1]]
            if not table:
                del self.tag_pairs[term.name[0]]
        else:
            del table[term.name]
        if term.is_pattern:
            self.patterns(term.section).remove(term)
        return 0

    cdef Patterns patterns(self, int section):
        return self.globs if section == TYPES else self.sources

    cdef dict table(self, int section, object name):
        """Where the terms of a section are found by name."""
        if section == TYPES:
            return self.types
        if section == SOURCES:
            return self.source_texts
        if section == TASKS:
            return self.tasks
        if section == PEERS:
            return self.peers
        if type(name) is tuple:
            return self.tag_pairs.setdefault(name[0], {})
        return self.tag_names

    cdef int file(self, Group group) except -1:
        """Put a posting under every term of the group's home condition."""
        cdef int32_t start = 0, end = 0, i
        cdef int section = group.home_section
        cdef int8_t flags
        cdef Term term
        if section == NOWHERE:
            return 0
        if section == EVERYTHING:
            end = 1
        elif section == REQUIRED:
            start = self.rarest(group)
            end = start + 1
        else:
            start = group.ends[section - 1] if section else 0
            end = group.ends[section]
        group.homes = <Home *> PyMem_Malloc((end - start) * sizeof(Home))
        if group.homes == NULL:
            raise MemoryError()
        flags = CHECK_TWICE if end - start > 1 and self.may_hit_twice(group) else 0
        if group.ends[REQUIRED] > (0 if section == EVERYTHING else end - start):
            flags |= CHECK_MORE
        if group.wanted_count > group.ends[REQUIRED]:
            flags |= CHECK_EXCLUDED
        for i in range(start, end):
            term = self.everything if section == EVERYTHING else <Term> group.wanted[i]
            term.reserve()
            term.file(group, i - start, flags)
            group.home_count += 1
            self.clock += 1
            term.changed = self.clock
        return 0

    cdef bint may_hit_twice(self, Group group) except -1:
        """Whether several terms of the home condition can hold for one event."""
        cdef int32_t i
        if group.home_section == TYPES:
            for i in range(group.ends[TYPES]):
                if (<Term> group.wanted[i]).is_pattern:
                    return True
        return group.home_section == SOURCES

    cdef int32_t rarest(self, Group group) noexcept:
        """The required tag fewest groups are filed under; a value before a bare name."""
        cdef int32_t i, best = group.ends[REQUIRED - 1]
        for i in range(best + 1, group.ends[REQUIRED]):
            if is_rarer(<Term> group.wanted[i], <Term> group.wanted[best]):
                best = i
        return best

    cdef void unfile(self, Group group) noexcept:
        cdef int32_t i
        cdef Term term
        for i in range(group.home_count):
            term = <Term> group.homes[i].term
            term.remove(group.homes[i].place)
            self.clock += 1
            term.changed = self.clock
        group.home_count = 0

    # An event is resolved and answered.

    cdef tuple match_terms(self, event):
        """The answer of all filters in the index."""
        cdef str kind = None, source = None, task = None, peer = None
        cdef object tags = None
        cdef Text kind_entry = None, source_entry = None
        cdef long priority = self.reader.read(event, EVENT_PRIORITY)
        cdef object role = self.reader.read(event, EVENT_ROLE)
        cdef int rank = 0 if role is None else required_rank(role)
        # All foreign code runs here, before anything points into the index.
        if self.types:
            kind = exact_text(self.reader.read(event, EVENT_TYPE))
        if self.source_texts:
            source = exact_text(self.reader.read(event, EVENT_SOURCE))
        if self.tasks:
            task = exact_text(self.reader.read(event, EVENT_TASK))
        if self.peers:
            peer = exact_text(self.reader.read(event, EVENT_PEER))
        if self.tag_names or self.tag_pairs:
            tags = self.reader.read(event, EVENT_TAGS)
            if not PyDict_Check(tags):
                tags = dict(tags)
        if (kind is not None and self.globs.live) or source is not None:
            while not self.is_caught_up(kind_entry, source_entry, kind, source):
                if kind is not None and self.globs.live:
                    kind_entry = self.globs.find(kind)
                if source is not None:
                    source_entry = self.sources.find(source)
        self.stamp += 1
        self.hit_count = 0
        self.checks = CHECK_MORE | CHECK_TWICE
        if kind is not None:
            self.hit_named(self.types, kind)
        if kind_entry is not None:
            self.hit_all(kind_entry.terms)
        if source_entry is not None:
            self.hit_all(source_entry.terms)
        if tags is not None:
            self.hit_tags(<dict> tags)
        self.shape_count = self.hit_count
        if task is not None:
            self.hit_named(self.tasks, task)
        if peer is not None:
            self.hit_named(self.peers, peer)
        if not self.hit_count and not self.everything.count:
            return ()
        return self.answer(<int> min(max(priority, -32767), 32767), rank)

    cdef bint is_caught_up(self, Text kinds, Text sources, str kind, str source):
        """Whether no pattern came while those before were tried."""
        if kind is not None and self.globs.live:
            if kinds is None or not self.globs.is_fresh(kinds):
                return False
        return source is None or (sources is not None and self.sources.is_fresh(sources))

    cdef int hit(self, Term term) except -1:
        """Note that the term holds for the event at hand."""
        cdef void *grown
        if term.stamp == self.stamp or not term.uses:
            return 0
        if self.hit_count == self.hit_capacity:
            self.hit_capacity = max(64, 2 * self.hit_capacity)
            grown = PyMem_Realloc(self.hits, self.hit_capacity * sizeof(void *))
            if grown == NULL:
                self.hit_capacity = self.hit_count
                raise MemoryError()
            self.hits = <void **> grown
        term.stamp = self.stamp
        if term.exclusions:
            self.checks |= CHECK_EXCLUDED
        self.hits[self.hit_count] = <void *> term
        self.hit_count += 1
        return 0

    cdef int hit_named(self, dict table, str name) except -1:
        cdef PyObject *found = PyDict_GetItemWithError(table, name)
        return 0 if found == NULL else self.hit(<Term> found)

    cdef int hit_all(self, list terms) except -1:
        cdef Term term
        for term in terms:
            self.hit(term)
        return 0

    cdef int hit_tags(self, dict tags) except -1:
        """Tags that are no text are equal to no rule; their hash is not asked for."""
        cdef PyObject *name
        cdef PyObject *value
        cdef PyObject *pairs
        cdef Py_ssize_t place = 0
        cdef str name_text, value_text
        while PyDict_Next(tags, &place, &name, &value):
            name_text = exact_text(<object> name)
            if name_text is None:
                continue
            self.hit_named(self.tag_names, name_text)
            pairs = PyDict_GetItemWithError(self.tag_pairs, name_text)
            if pairs != NULL:
                value_text = exact_text(<object> value)
                if value_text is not None:
                    self.hit_named(<dict> pairs, value_text)
        return 0

    cdef tuple answer(self, int priority, int rank):
        """The groups for the terms that hold.

        Groups that ask for tasks or peers are filed under these and always gathered;
        the answer of all others depends on the shape alone and is remembered.
        """
        cdef uint64_t shape[MAX_SHAPE]
        cdef uint64_t newest = self.everything.changed
        cdef uint64_t made = self.clock
        cdef uint64_t hashed = <uint64_t> (priority * 8 + rank)
        cdef Py_ssize_t length = self.shape_count + 1, i, place, own
        cdef Py_ssize_t count, capacity
        cdef PyObject **found
        cdef tuple shared = None, extra
        cdef Term term
        if length <= MAX_SHAPE:
            shape[0] = hashed
            for i in range(self.shape_count):
                term = <Term> self.hits[i]
                newest = max(newest, term.changed)
                shape[i + 1] = term.serial
                hashed = (hashed ^ term.serial) * <uint64_t> 0x9E3779B97F4A7C15
                hashed ^= hashed >> 32
            place = self.place_of(hashed, shape, length)
            if place >= 0 and self.answers[place].made >= newest:
                shared = <tuple> self.answer_groups[place]
        self.found_count = 0
        for i in range(self.shape_count, self.hit_count):
            self.gather(<Term> self.hits[i], priority, rank)
        own = self.found_count
        if shared is None:
            self.gather(self.everything, priority, rank)
            for i in range(self.shape_count):
                self.gather(<Term> self.hits[i], priority, rank)
        elif not own:
            return shared
        # The collector may run from here on, and anything with it: the groups are owned
        # by now, and the array is out of reach for as long.
        found, count, capacity = self.found, self.found_count, self.found_capacity
        self.found = NULL
        self.found_count = self.found_capacity = 0
        try:
            extra = steal_tuple(found, own) if own else ()
            if shared is None:
                shared = steal_tuple(found + own, count - own)
                if length <= MAX_SHAPE:
                    self.remember(hashed, shape, length, made, shared)
        finally:
            if self.found == NULL:
                self.found, self.found_capacity = found, capacity
            else:
                PyMem_Free(found)
        return shared + extra if own else shared

    cdef Py_ssize_t place_of(
        self, uint64_t hashed, uint64_t *shape, Py_ssize_t length
    ) noexcept:
        """Where the answer of this shape is, or -1."""
        cdef Py_ssize_t place = <Py_ssize_t> (hashed % ANSWER_SETS) * ANSWER_WAYS, i
        cdef Answer *answer
        for i in range(place, place + ANSWER_WAYS):
            answer = &self.answers[i]
            if answer.shape != NULL and answer.hash == hashed and answer.length == length:
                if memcmp(answer.shape, shape, length * sizeof(uint64_t)) == 0:
                    return i
        return -1

    cdef int remember(
        self,
        uint64_t hashed,
        uint64_t *shape,
        Py_ssize_t length,
        uint64_t made,
        tuple groups,
    ) except -1:
        cdef Py_ssize_t place = self.place_of(hashed, shape, length)
        cdef Py_ssize_t size = PyTuple_GET_SIZE(groups)
        cdef Answer *answer
        cdef void *copied
        if size > MAX_ANSWERED // 8:
            return 0
        if self.answered + size > MAX_ANSWERED:
            self.forget_answers()
            place = -1
        if place < 0:
            self.turn += 1
            place = <Py_ssize_t> (hashed % ANSWER_SETS) * ANSWER_WAYS
            place += self.turn % ANSWER_WAYS
            answer = &self.answers[place]
            copied = PyMem_Realloc(answer.shape, length * sizeof(uint64_t))
            if copied == NULL:
                raise MemoryError()
            answer.shape = <uint64_t *> copied
            memcpy(answer.shape, shape, length * sizeof(uint64_t))
            answer.hash = hashed
            answer.length = <int32_t> length
        self.answers[place].made = made
        self.exchange(place, groups)
        return 0

    cdef int exchange(self, Py_ssize_t place, tuple groups) except -1:
        """Put the groups in place of those there; these may die, running any code."""
        cdef object former = self.answer_groups[place]
        if former is not None:
            self.answered -= PyTuple_GET_SIZE(former)
        self.answered += PyTuple_GET_SIZE(groups)
        self.answer_groups[place] = groups
        return 0

    cdef int forget_answers(self) except -1:
        # Made first: the collector may run here, and anything with it.
        cdef list fresh = [None] * (ANSWER_SETS * ANSWER_WAYS)
        cdef list former = self.answer_groups
        cdef Py_ssize_t i
        self.answer_groups = fresh
        for i in range(ANSWER_SETS * ANSWER_WAYS):
            PyMem_Free(self.answers[i].shape)
            self.answers[i].shape = NULL
        self.answered = 0
        self.ghosts = 0
        former.clear()
        return 0

    cdef int gather(self, Term term, int priority, int rank) except -1:
        """Add the groups filed under the term that want the event."""
        cdef Py_ssize_t i, count = term.count
        cdef Posting *posting
        cdef int8_t flags
        self.reserve_found(count)
        for i in range(count):
            posting = &term.postings[i]
            if i + AHEAD < count:
                prefetch(term.postings[i + AHEAD].group, 1)
            if priority < posting.min_priority or rank > posting.rank:
                continue
            flags = posting.flags & self.checks
            if flags and not wants(<Group> posting.group, flags, self.stamp):
                continue
            Py_INCREF(<object> posting.group)
            self.found[self.found_count] = <PyObject *> posting.group
            self.found_count += 1
        return 0

    cdef int reserve_found(self, Py_ssize_t more) except -1:
        cdef Py_ssize_t needed = self.found_count + more
        cdef void *grown
        if needed <= self.found_capacity:
            return 0
        needed = max(64, 2 * needed)
        grown = PyMem_Realloc(self.found, needed * sizeof(PyObject *))
        if grown == NULL:
            raise MemoryError()
        self.found = <PyObject **> grown
        self.found_capacity = needed
        return 0

    # Filters that decide for themselves.

    cdef tuple ask(self, tuple groups, event):
        cdef list wanting = [
            group for group in tuple(self.asked) if self.is_wanted(<Group> group, event)
        ]
        return groups + tuple(wanting) if wanting else groups

    cdef bint is_wanted(self, Group group, event) except -1:
        try:
            return bool(group.filter.matches(event))
        except Exception as error:
            # A filter is foreign code: it may only hurt itself.
            self.report(group, error)
            return False

    cdef int report(self, Group group, error) except -1:
        if self.on_error is not None:
            self.on_error(group.filter, error)
        elif not group.has_failed:
            group.has_failed = True
            logger.warning("filter %r raised %r: no match", group.filter, error)
        return 0


cdef bint wants(Group group, int8_t flags, uint64_t stamp) noexcept:
    """Whether what is left of the filter holds, by the stamps on its terms."""
    cdef int32_t start = 0, end
    cdef int section
    if flags & CHECK_TWICE:
        if group.stamp == stamp:
            return False
        group.stamp = stamp
    if flags & CHECK_EXCLUDED:
        start, end = group.ends[REQUIRED], group.ends[EXCLUDED]
        if not section_holds(group.wanted, EXCLUDED, start, end, stamp):
            return False
    if not flags & CHECK_MORE:
        return True
    start = 0
    for section in range(EXCLUDED):
        end = group.ends[section]
        if start != end and section != group.home_section or section == REQUIRED:
            if not section_holds(group.wanted, section, start, end, stamp):
                return False
        start = end
    return True


cdef bint section_holds(
    void **wanted, int section, int32_t start, int32_t end, uint64_t stamp
) noexcept:
    """All required tags, no excluded ones, and any one of all else."""
    cdef bint is_stamped
    cdef int32_t i
    for i in range(start, end):
        is_stamped = (<Term> wanted[i]).stamp == stamp
        if section == REQUIRED:
            if not is_stamped:
                return False
        elif is_stamped:
            return section != EXCLUDED
    return section >= REQUIRED


cdef bint is_rarer(Term term, Term other) noexcept:
    cdef bint is_pair = type(term.name) is tuple
    if is_pair != (type(other.name) is tuple):
        return is_pair
    return term.count < other.count


cdef tuple steal_tuple(PyObject **items, Py_ssize_t count):
    """A tuple that takes the references over."""
    cdef tuple result
    cdef Py_ssize_t i
    try:
        result = PyTuple_New(count)
    except MemoryError:
        for i in range(count):
            Py_DECREF(<object> items[i])
        raise
    for i in range(count):
        PyTuple_SET_ITEM(result, i, <object> items[i])
    return result


@cython.final
cdef class Fields:
    """What a filter asks for, read once."""

    cdef Py_hash_t hash
    cdef object min_priority
    cdef object role
    cdef list sections

    cdef bint make_exact(self) except -1:
        """Turn all names into exact texts; False when some are no text."""
        cdef int section
        cdef list exact
        for section in range(SECTIONS):
            names = self.sections[section]
            if names is None:
                continue
            if section < REQUIRED:
                exact = [exact_text(name) for name in names]
            else:
                exact = [exact_rule(rule) for rule in names]
            if None in exact:
                return False
            self.sections[section] = exact
        return True


cdef Fields read_fields(filter):
    """The fields of a filter; their hash spreads well even if the filter's does not."""
    cdef Fields fields = Fields()
    types, sources, tasks = filter.event_types, filter.source_patterns, filter.tasks
    peers, required, excluded = filter.peers, filter.required_tags, filter.excluded_tags
    fields.min_priority = filter.min_priority
    fields.role = filter.role
    fields.sections = [types, sources, tasks, peers, required, excluded]
    fields.hash = hash(
        (types, sources, tasks, peers, required, excluded, fields.min_priority, fields.role)
    )
    return fields


cdef object exact_rule(object rule):
    """A tag's name, or its name and value; None when one of them is no text."""
    cdef str name, value
    if not isinstance(rule, tuple):
        return exact_text(rule)
    if len(<tuple> rule) != 2:
        return None
    name, value = exact_text(rule[0]), exact_text(rule[1])
    return None if name is None or value is None else (name, value)
