"""From a trained model to numbers, tables and pictures, and from many models to a champion."""
