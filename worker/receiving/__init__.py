"""The receiver: takes DICOM objects from modalities and archives (C-STORE, C-ECHO) and passes them to the intake.

pynetdicom speaks the protocol. It lacks limits that a receiver in a hospital's network needs; each one is in one module:

- `places`: how many connections there may be, in all and from one address.
- `connection`: how long a PDU may be, and how long it may take to arrive.
- `messages`: how large a command and an object may be, and how long they may take; objects go to the disk.
- `server`: whose connection is accepted at all, TLS, and the end of every connection.
"""
