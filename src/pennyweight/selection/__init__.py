"""Which of several, learnt from outcomes: agents or targets per task type, behind one protocol."""
