// A page that shows events as they come, and keeps what it was told for the tests.
window.told = []; // every event, in the order it came
window.notes = []; // everything else: how its connections fared, goodbyes
window.last = null; // where to go on

document.body.innerHTML = '<h1>Events</h1><p id="state"></p><ol id="events"></ol>';

function note(text) {
  notes.push(text);
  document.getElementById('state').textContent = text;
}

function take(id, message) {
  told.push({ ...message, id });
  last = id;
  const line = document.createElement('li');
  line.textContent = `${id} ${message.type} ${JSON.stringify(message.payload)}`.slice(0, 100);
  document.getElementById('events').append(line);
}

// Server-Sent Events; coming back is the browser's business alone.
window.watch = (url) => {
  const source = new EventSource(url);
  source.onopen = () => note('open');
  source.onerror = () => note(source.readyState === EventSource.CLOSED ? 'refused' : 'lost');
  source.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if ('seq' in message) take(event.lastEventId, message);
    else note(message.type);
  };
};

// WebSocket; comes back by the query, or by a message that asks for the past.
window.listen = (url, isByMessage) => {
  const since = last;
  const socket = new WebSocket(since && !isByMessage ? `${url}&since=${since}` : url);
  let isOpen = false;
  let isLevel = !(since && isByMessage);
  socket.onopen = () => {
    isOpen = true;
    note(`open ${socket.extensions}`);
    if (!isLevel) socket.send(JSON.stringify({ type: 'RESUME', payload: { since } }));
  };
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    // What comes before the answer to RESUME comes once more after it.
    if ('seq' in message) {
      if (isLevel) take(`${message.epoch}-${message.seq}`, message);
    } else {
      note(message.type);
      isLevel ||= message.type === 'resumed';
    }
  };
  socket.onclose = ({ code }) => {
    note(`${isOpen ? 'lost' : 'refused'} ${code}`);
    if (isOpen) listen(url, isByMessage);
  };
};

// A plain request: its status, or why the browser does not show the answer.
window.ask = (url, options) =>
  fetch(url, options).then(
    (answer) => answer.status,
    (error) => error.name,
  );
