// Connect to event stream
const ws = new WebSocket('ws://localhost:8001/events');

ws.onmessage = (event) => {
  const a2aEvent = JSON.parse(event.data);
  console.log('Received event:', a2aEvent.event, a2aEvent.data);
};
