"""DICOM: reading objects, turning their pixels into grey values, and receiving them."""
